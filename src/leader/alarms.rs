// SPDX-License-Identifier: Apache-2.0
//! The state of alarms, of which there are none: what an instance without alarms shows of the module ietf-alarms, as
//! it was before RFC 8632 (revision 2017-05-08), which clients of this protocol know.

use crate::yang::format::{self, Format};
use crate::yang::path::Path;
use crate::yang::print::Shown;
use crate::yang::schema::{Schema, SchemaError};
use crate::yang::text;
use std::sync::LazyLock;

/// Name of the module that describes alarms.
pub(super) const SCHEMA: &str = "ietf-alarms";

/// What stands at a path.
pub(super) fn state(path: &str, format: Format, print_default: bool) -> Result<String, String> {
    let schema = MODEL.as_ref().map_err(ToString::to_string)?;
    let path = Path::resolve(&schema.root, path).map_err(|error| error.to_string())?;
    let root = text::members(&schema.root, NO_ALARMS).map_err(|error| error.to_string())?;
    let shown = if print_default { Shown::WithDefaults } else { Shown::Explicit };
    format::print(schema, &root, &path, format, shown).map_err(|error| error.to_string())
}

static MODEL: LazyLock<Result<Schema, SchemaError>> = LazyLock::new(|| {
    Schema::compile(MODULE, &[], &[])
        .map(|schema| schema.with_series(&["/alarms/alarm-list/number-of-alarms"]))
});

const NO_ALARMS: &str = "alarms { alarm-inventory { } alarm-list { number-of-alarms 0; } summary { } }";

/// The nodes of the module that an instance without alarms shows, and the lists that are empty then.
const MODULE: &str = r#"
module ietf-alarms {
  namespace "urn:ietf:params:xml:ns:yang:ietf-alarms";
  prefix al;
  container alarms {
    container alarm-inventory {
      list alarm-type {
        key "alarm-type-id alarm-type-qualifier";
        leaf alarm-type-id { type string; }
        leaf alarm-type-qualifier { type string; }
        leaf has-clear { type boolean; mandatory true; }
        leaf description { type string; mandatory true; }
      }
    }
    container alarm-list {
      leaf number-of-alarms { type uint32; }
      leaf last-changed { type string; }
      list alarm {
        key "resource alarm-type-id alarm-type-qualifier";
        leaf resource { type string; }
        leaf alarm-type-id { type string; }
        leaf alarm-type-qualifier { type string; }
        leaf time-created { type string; mandatory true; }
        leaf is-cleared { type boolean; mandatory true; }
        leaf last-changed { type string; mandatory true; }
        leaf perceived-severity { type string; mandatory true; }
        leaf alarm-text { type string; mandatory true; }
      }
    }
    container summary {
      list alarm-summary {
        key severity;
        leaf severity { type string; }
        leaf total { type uint32; }
        leaf cleared { type uint32; }
      }
    }
  }
}"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_without_alarms_shows_the_skeleton() {
        let shown = |path, format| state(path, format, false);
        let all = "alarms {\n  alarm-inventory {\n  }\n  alarm-list {\n    number-of-alarms 0;\n  }\n  summary {\n  }\n}\n";
        assert_eq!(shown("/", Format::Yang).as_deref(), Ok(all));
        assert_eq!(shown("/alarms/alarm-list", Format::Yang).as_deref(), Ok("number-of-alarms 0;\n"));
        assert_eq!(shown("/alarms/alarm-list/number-of-alarms", Format::Yang).as_deref(), Ok("0"));
        for empty in ["/alarms/alarm-inventory", "/alarms/summary", "/alarms/alarm-list/alarm"] {
            assert_eq!(shown(empty, Format::Yang).as_deref(), Ok(""), "{empty}");
        }
        assert_eq!(shown("/", Format::Xpath).as_deref(), Ok("/alarms/alarm-list/number-of-alarms 0\n"));
        assert_eq!(shown("/", Format::Influxdb).as_deref(), Ok("number-of-alarms value=0i\n"));
        let json = "{\n  \"ietf-alarms:alarm-list\": {\n    \"number-of-alarms\": 0\n  }\n}\n";
        assert_eq!(shown("/alarms/alarm-list", Format::Json).as_deref(), Ok(json));
        assert!(
            shown("/mtu", Format::Yang).unwrap_err().starts_with("Invalid path: Struct has no field named")
        );
    }
}
