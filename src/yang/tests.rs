// SPDX-License-Identifier: Apache-2.0
//! Stories about text, paths and trees, on a module made for the purpose.

mod formats;
mod language;
mod messages;
mod modules;
mod paths;
mod syntax;

use super::data::Container;
use super::print::{self, Shown};
use super::schema::Schema;
use super::{text, validate};

/// A little of everything.
pub(super) const MODULE: &str = r#"
module toy {
  namespace "urn:toy";
  prefix toy;
  typedef small { type uint8 { range "1..10 | 20"; } default 5; }
  typedef word { type string { length "1..8"; pattern '[a-z]+'; } }
  grouping place { leaf x { type int16; mandatory true; } leaf y { type int16; default -3; } }
  leaf number { type small; }
  leaf flag { type boolean; }
  leaf name { type string; }
  leaf short { type toy:word { length "min..4"; } }
  leaf-list tag { type word; }
  container box {
    uses place;
    choice shape {
      case round { leaf radius { type uint32; mandatory true; } leaf colour { type word; } }
      case square { leaf side { type uint32; } }
    }
    container inner { leaf deep { type string; } }
  }
  list item {
    key "b a";
    unique "c d";
    leaf a { type uint16; }
    leaf b { type string; default none; }
    leaf c { type string; }
    leaf d { type string; default same; }
    list part { key n; min-elements 2; leaf n { type uint8; } }
  }
  container seen { config false; leaf count { type uint64; } }
}"#;

pub(super) fn schema() -> Schema {
    Schema::compile(MODULE, &[], &[]).unwrap()
}

/// Reads and checks a document.
pub(super) fn read(source: &str) -> Result<Container, String> {
    let schema = schema();
    let root = text::members(&schema.root, source).map_err(|error| error.to_string())?;
    validate::validate(&schema.root, &root, None).map_err(|error| error.to_string())?;
    Ok(root)
}

/// Reads a document and prints it again.
pub(super) fn reprint(source: &str) -> String {
    print::members(&schema().root, &read(source).unwrap(), Shown::Explicit)
}
