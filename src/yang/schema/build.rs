// SPDX-License-Identifier: Apache-2.0
//! From statements to a schema: imports, typedefs, groupings and inheritance resolved.

use super::{Case, Kind, Leaf, List, Members, Node, Rpc, Schema, SchemaError};
use crate::yang::MAX_DEPTH;
use crate::yang::statement::Statement;
use crate::yang::types::{self, Base, Pattern, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

pub(super) fn compile(module: &str, imports: &[&str], secret: &[&str]) -> Result<Schema, SchemaError> {
    let main = Module::read(module)?;
    let mut others = BTreeMap::new();
    for source in imports {
        let module = Module::read(source)?;
        others.insert(module.body.argument.clone(), module);
    }
    let mut builder = Builder { main: &main, others: &others, secret, types: BTreeMap::new() };
    main.body.allow(&[&["namespace", "prefix", "import", "typedef", "grouping", "rpc"], DATA].concat())?;
    let scope = Scope { module: &main, config: true, cases: &[], depth: 0 };
    let root = builder.members(&main.body, scope)?;
    let mut rpcs = BTreeMap::new();
    for statement in main.body.all("rpc") {
        statement.allow(&["input", "output"])?;
        let mut side = |keyword| match statement.child(keyword) {
            Some(side) => side.allow(DATA).and_then(|()| builder.members(side, scope)),
            None => Ok(Members::default()),
        };
        let rpc = Rpc { input: side("input")?, output: side("output")? };
        if rpcs.insert(statement.argument.clone(), rpc).is_some() {
            return Err(SchemaError::Duplicate { line: statement.line, name: statement.argument.clone() });
        }
    }
    Ok(Schema { name: main.body.argument.clone(), root, rpcs, series: BTreeSet::new() })
}

struct Module {
    body: Statement,
    prefix: String,
    /// Names of modules by the prefix they have here.
    imports: BTreeMap<String, String>,
}

struct Builder<'a> {
    main: &'a Module,
    others: &'a BTreeMap<String, Module>,
    secret: &'a [&'a str],
    /// Typedefs resolved so far, by module and name, with their default.
    types: BTreeMap<(String, String), Derived>,
}

/// A type, and the default that comes with it.
#[derive(Clone)]
struct Derived {
    kind: Arc<Type>,
    default: Option<String>,
}

/// Where statements stand.
#[derive(Clone, Copy)]
struct Scope<'a, 'c> {
    module: &'a Module,
    config: bool,
    cases: &'c [Case],
    depth: usize,
}

impl Module {
    fn read(source: &str) -> Result<Module, SchemaError> {
        let body = Statement::parse(source)?;
        let prefix = required(&body, "prefix")?.to_string();
        let mut imports = BTreeMap::new();
        for import in body.all("import") {
            imports.insert(required(import, "prefix")?.to_string(), import.argument.clone());
        }
        Ok(Module { body, prefix, imports })
    }
}

impl<'a> Builder<'a> {
    fn members(&mut self, parent: &Statement, scope: Scope<'a, '_>) -> Result<Members, SchemaError> {
        let mut members = Members::default();
        self.collect(&mut members, parent, scope)?;
        Ok(members)
    }

    /// Adds the data nodes among the children of `parent`; those of choices and groupings count as its own.
    fn collect(
        &mut self,
        into: &mut Members,
        parent: &Statement,
        scope: Scope<'a, '_>,
    ) -> Result<(), SchemaError> {
        if scope.depth > MAX_DEPTH {
            return Err(SchemaError::TooDeep { line: parent.line });
        }
        let scope = Scope { depth: scope.depth + 1, ..scope };
        for statement in &parent.children {
            match statement.keyword.as_str() {
                "leaf" | "leaf-list" | "container" | "list" => self.node(into, statement, scope)?,
                "uses" => {
                    statement.allow(&[])?;
                    let (module, name) = self.lookup(statement, scope.module)?;
                    let grouping = module.body.all("grouping").find(|grouping| grouping.argument == name);
                    let grouping = grouping.ok_or_else(|| undefined("grouping", statement))?;
                    grouping.allow(DATA)?;
                    self.collect(into, grouping, Scope { module, ..scope })?;
                }
                "choice" => self.choice(into, statement, scope)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn choice(
        &mut self,
        into: &mut Members,
        choice: &Statement,
        scope: Scope<'a, '_>,
    ) -> Result<(), SchemaError> {
        choice.allow(&["case"])?;
        for case in choice.all("case") {
            case.allow(DATA)?;
            let mut cases = scope.cases.to_vec();
            cases.push(Case { choice: choice.argument.as_str().into(), case: case.argument.as_str().into() });
            self.collect(into, case, Scope { cases: &cases, ..scope })?;
        }
        Ok(())
    }

    fn node(
        &mut self,
        into: &mut Members,
        statement: &Statement,
        scope: Scope<'a, '_>,
    ) -> Result<(), SchemaError> {
        let config = scope.config && statement.argument_of("config") != Some("false");
        let inside = Scope { config, cases: &[], ..scope };
        let kind = match statement.keyword.as_str() {
            "leaf" => {
                statement.allow(&["type", "default", "mandatory", "config"])?;
                Kind::Leaf(self.leaf(statement, scope)?)
            }
            "leaf-list" => {
                statement.allow(&["type", "config"])?;
                Kind::LeafList(self.type_of(statement, scope.module, 0)?.kind)
            }
            "container" => {
                statement.allow(&[&["config"], DATA].concat())?;
                Kind::Container(self.members(statement, inside)?)
            }
            _ => {
                statement.allow(&[&["config", "key", "unique", "min-elements"], DATA].concat())?;
                Kind::List(self.list(statement, inside)?)
            }
        };
        let name: Arc<str> = statement.argument.as_str().into();
        let node = Node { name: name.clone(), kind, config, cases: scope.cases.to_vec() };
        match into.nodes.insert(name, node) {
            Some(_) => Err(SchemaError::Duplicate { line: statement.line, name: statement.argument.clone() }),
            None => Ok(()),
        }
    }

    fn leaf(&mut self, statement: &Statement, scope: Scope<'a, '_>) -> Result<Leaf, SchemaError> {
        let Derived { kind, default } = self.type_of(statement, scope.module, 0)?;
        let default = match statement.argument_of("default").or(default.as_deref()) {
            Some(text) => Some(kind.parse(text).map_err(|_| statement.bad_argument())?),
            None => None,
        };
        Ok(Leaf { kind, default, mandatory: statement.argument_of("mandatory") == Some("true") })
    }

    fn list(&mut self, statement: &Statement, scope: Scope<'a, '_>) -> Result<List, SchemaError> {
        let members = self.members(statement, scope)?;
        let leaves = |names: &str| -> Result<Vec<Arc<str>>, SchemaError> {
            let known = |name: &str| members.leaf(name).is_some();
            names
                .split_whitespace()
                .map(|name| if known(name) { Ok(name.into()) } else { Err(statement.bad_argument()) })
                .collect()
        };
        let keys = leaves(required(statement, "key")?)?;
        let unique =
            statement.all("unique").map(|unique| leaves(&unique.argument)).collect::<Result<_, _>>()?;
        let min_elements = statement.argument_of("min-elements").unwrap_or("0");
        let min_elements = min_elements.parse().map_err(|_| statement.bad_argument())?;
        Ok(List { keys, unique, min_elements, members })
    }

    /// The type that the type statement of a leaf or typedef names, with its restrictions.
    fn type_of(
        &mut self,
        parent: &Statement,
        module: &'a Module,
        depth: usize,
    ) -> Result<Derived, SchemaError> {
        let statement = parent.child("type").ok_or_else(|| SchemaError::Missing {
            line: parent.line,
            parent: parent.argument.clone(),
            keyword: "type",
        })?;
        if depth > MAX_DEPTH {
            return Err(SchemaError::TooDeep { line: statement.line });
        }
        statement.allow(&["range", "length", "pattern", "enum"])?;
        let (mut base, canonical, default) = match built_in(statement)? {
            Some(base) => (base, None, None),
            None => {
                let derived = self.typedef(statement, module, depth)?;
                if statement.children.is_empty() {
                    return Ok(derived);
                }
                (derived.kind.base.clone(), derived.kind.canonical, derived.default)
            }
        };
        restrict(&mut base, statement)?;
        let name = unprefixed(&statement.argument).to_string();
        let secret = self.secret.contains(&name.as_str());
        Ok(Derived { kind: Arc::new(Type { name, secret, base, canonical }), default })
    }

    fn typedef(
        &mut self,
        statement: &Statement,
        module: &'a Module,
        depth: usize,
    ) -> Result<Derived, SchemaError> {
        let (home, name) = self.lookup(statement, module)?;
        let place = (home.body.argument.clone(), name.to_string());
        if let Some(derived) = self.types.get(&place) {
            return Ok(derived.clone());
        }
        let typedef = home.body.all("typedef").find(|typedef| typedef.argument == name);
        let typedef = typedef.ok_or_else(|| undefined("type", statement))?;
        typedef.allow(&["type", "default"])?;
        let Derived { kind, default } = self.type_of(typedef, home, depth + 1)?;
        let kind = Type {
            name: name.to_string(),
            secret: kind.secret || self.secret.contains(&name),
            base: kind.base.clone(),
            canonical: types::canonical(name).or(kind.canonical),
        };
        let default = typedef.argument_of("default").map(str::to_string).or(default);
        let derived = Derived { kind: Arc::new(kind), default };
        self.types.insert(place, derived.clone());
        Ok(derived)
    }

    /// The module that the prefix in an argument stands for, and the name behind it.
    fn lookup<'s>(
        &self,
        statement: &'s Statement,
        module: &'a Module,
    ) -> Result<(&'a Module, &'s str), SchemaError> {
        let argument = statement.argument.as_str();
        let Some((prefix, name)) = argument.split_once(':') else { return Ok((module, argument)) };
        if prefix == module.prefix {
            return Ok((module, name));
        }
        let target = module.imports.get(prefix);
        let main = |target: &&String| (**target == self.main.body.argument).then_some(self.main);
        let found = target.and_then(|target| self.others.get(target).or_else(|| main(&target)));
        found.map(|found| (found, name)).ok_or_else(|| undefined("prefix", statement))
    }
}

/// The built-in type of that name (RFC 7950, section 4.2.4); nothing if the name is a typedef's.
fn built_in(statement: &Statement) -> Result<Option<Base>, SchemaError> {
    let integer = |bits, range| Base::Integer { ranges: vec![range], wide: bits == 64 };
    let signed = |bits: u32| integer(bits, -(1i128 << (bits - 1))..=(1i128 << (bits - 1)) - 1);
    let unsigned = |bits: u32| integer(bits, 0..=(1i128 << bits) - 1);
    Ok(Some(match statement.argument.as_str() {
        "int8" => signed(8),
        "int16" => signed(16),
        "int32" => signed(32),
        "int64" => signed(64),
        "uint8" => unsigned(8),
        "uint16" => unsigned(16),
        "uint32" => unsigned(32),
        "uint64" => unsigned(64),
        "boolean" => Base::Boolean,
        "string" => Base::Text { lengths: Vec::new(), patterns: Vec::new() },
        "enumeration" => Base::Enumeration(Vec::new()),
        "binary"
        | "bits"
        | "decimal64"
        | "empty"
        | "identityref"
        | "instance-identifier"
        | "leafref"
        | "union" => {
            let what = format!("the type {}", statement.argument);
            return Err(SchemaError::Unsupported { line: statement.line, what });
        }
        _ => return Ok(None),
    }))
}

/// Narrows a type by the substatements of a type statement.
fn restrict(base: &mut Base, statement: &Statement) -> Result<(), SchemaError> {
    for restriction in &statement.children {
        let bad = || restriction.bad_argument();
        match (restriction.keyword.as_str(), &mut *base) {
            ("range", Base::Integer { ranges, .. }) => {
                *ranges = narrow(ranges, &restriction.argument).ok_or_else(bad)?
            }
            ("length", Base::Text { lengths, .. }) => {
                let whole = [0..=i128::from(u64::MAX)];
                let current: &[_] = if lengths.is_empty() { &whole } else { lengths };
                *lengths = narrow(current, &restriction.argument).ok_or_else(bad)?;
            }
            ("pattern", Base::Text { patterns, .. }) => {
                restriction.allow(&["error-message", "error-app-tag"])?;
                patterns.push(Pattern::new(&restriction.argument).ok_or_else(bad)?);
            }
            ("enum", Base::Enumeration(names)) => names.push(restriction.argument.clone()),
            _ => return Err(bad()),
        }
    }
    Ok(())
}

/// `1..4 | 10 | 20..max`, where min and max are those of the ranges that are narrowed (RFC 7950, section 9.2.4).
fn narrow(outer: &[RangeInclusive<i128>], argument: &str) -> Option<Vec<RangeInclusive<i128>>> {
    let bound = |text: &str| match text.trim() {
        "min" => outer.first().map(|range| *range.start()),
        "max" => outer.last().map(|range| *range.end()),
        number => number.parse().ok(),
    };
    let part = |text: &str| {
        let (low, high) = text.split_once("..").unwrap_or((text, text));
        let (low, high) = (bound(low)?, bound(high)?);
        let inside = outer.iter().any(|range| range.contains(&low) && range.contains(&high));
        (inside && low <= high).then_some(low..=high)
    };
    argument.split('|').map(part).collect()
}

fn required<'s>(statement: &'s Statement, keyword: &'static str) -> Result<&'s str, SchemaError> {
    statement.argument_of(keyword).ok_or_else(|| SchemaError::Missing {
        line: statement.line,
        parent: statement.argument.clone(),
        keyword,
    })
}

fn undefined(keyword: &'static str, statement: &Statement) -> SchemaError {
    SchemaError::Undefined { line: statement.line, keyword, argument: statement.argument.clone() }
}

fn unprefixed(name: &str) -> &str {
    name.split_once(':').map_or(name, |(_, name)| name)
}

/// Statements that define data nodes.
const DATA: &[&str] = &["leaf", "leaf-list", "container", "list", "choice", "uses"];
