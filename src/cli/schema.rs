// SPDX-License-Identifier: Apache-2.0
//! What the client knows of the schema of an instance: enough to check and normalise a path, and to read JSON, before
//! the instance is asked. Instances of other versions of this gateway are served by the model in this binary; of
//! other programs the schema is fetched. One that cannot be understood is no obstacle: the instance checks anyway.

use crate::leader::{Client, ClientError, Request};
use crate::yang::format;
use crate::yang::json;
use crate::yang::path::{Path, PathError};
use crate::yang::schema::Schema;
use crate::yang::text::{self, TextError};
use crate::yang::{IETF_INET_TYPES, IETF_YANG_TYPES};

use super::args::Input;

pub(super) struct InstanceSchema {
    /// As it is addressed.
    pub name: String,
    schema: Option<Model>,
}

enum Model {
    BuiltIn,
    Fetched(Box<Schema>),
}

/// A value as it is sent.
pub(super) struct Sent {
    pub text: String,
    /// Whether it stood in JSON, so that places in the text sent mean nothing to the user.
    pub translated: bool,
}

impl InstanceSchema {
    /// The schema of that name, or the one the instance names by default; nothing if it names none.
    pub(super) fn of(
        client: &mut Client,
        name: Option<String>,
    ) -> Result<Option<InstanceSchema>, ClientError> {
        let described = |client: &mut Client| -> Result<Option<String>, ClientError> {
            let description = client.call(&Request::Describe)?;
            Ok(description.leaf("default-schema").or_else(|| description.leaf("native-schema")))
        };
        let name = match name {
            Some(name) => name,
            None => match described(client)? {
                Some(name) => name,
                None => return Ok(None),
            },
        };
        if name == crate::config::SCHEMA {
            return Ok(Some(InstanceSchema { name, schema: Some(Model::BuiltIn) }));
        }
        let reply = client.call(&Request::GetSchema { schema: name.clone(), revision: None })?;
        let imports = [IETF_YANG_TYPES, IETF_INET_TYPES];
        let compiled = reply.leaf("source").and_then(|source| Schema::compile(&source, &imports, &[]).ok());
        Ok(Some(InstanceSchema { name, schema: compiled.map(|schema| Model::Fetched(Box::new(schema))) }))
    }

    /// The path in the form in which instances expect it.
    pub(super) fn path(&self, path: &str) -> Result<String, PathError> {
        match self.schema() {
            Some(schema) => Ok(Path::resolve(&schema.root, path)?.to_string()),
            None => Path::normalise(path),
        }
    }

    /// The value in the textual form.
    pub(super) fn value(&self, path: &str, value: String, input: Option<Input>) -> Result<Sent, TextError> {
        let is_json = input.map_or_else(|| json::is_json(&value), |input| input == Input::Json);
        let path = self.schema().and_then(|schema| Some((schema, Path::resolve(&schema.root, path).ok()?)));
        match path.filter(|_| is_json) {
            Some((schema, path)) => {
                Ok(Sent { text: format::json_to_text(schema, &path, &value)?, translated: true })
            }
            None => Ok(Sent { text: value, translated: false }),
        }
    }

    /// What is wrong with a value in the textual form, for instances that refuse it without a word.
    pub(super) fn problem(&self, path: &str, value: &str) -> Option<TextError> {
        let path = Path::resolve(&self.schema()?.root, path).ok()?;
        text::read(&path, value).err()
    }

    /// JSON made from the text that an instance gave; nothing if the text is not understood.
    pub(super) fn to_json(&self, path: &str, text: &str) -> Option<String> {
        let schema = self.schema()?;
        format::text_to_json(schema, &Path::resolve(&schema.root, path).ok()?, text).ok()
    }

    fn schema(&self) -> Option<&Schema> {
        match self.schema.as_ref()? {
            Model::BuiltIn => Some(crate::config::schema()),
            Model::Fetched(schema) => Some(schema),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> InstanceSchema {
        InstanceSchema { name: crate::config::SCHEMA.to_owned(), schema: Some(Model::BuiltIn) }
    }

    #[test]
    fn a_value_that_was_refused_without_a_word_is_looked_at_here() {
        let problem = known().problem("/", "mtu 1440;\n  sa-ttl 5").unwrap();
        let shown = problem.in_source("all.conf", "/");
        assert_eq!(shown, "all.conf:2:11: expected ';', found the end of the text\n  sa-ttl 5\n          ^");
        assert!(known().problem("/mtu", "1440").is_none());
    }

    #[test]
    fn without_a_schema_values_are_sent_as_they_are() {
        let known = InstanceSchema { name: "toy".to_owned(), schema: None };
        let sent = known.value("/a", "{\"toy:a\": 1}".to_owned(), None).unwrap();
        assert_eq!((sent.text.as_str(), sent.translated), ("{\"toy:a\": 1}", false));
        assert_eq!(known.path("a[z=1][b=2]/").unwrap(), "/a[b=2][z=1]");
    }
}
