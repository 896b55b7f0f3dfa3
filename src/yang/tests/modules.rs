// SPDX-License-Identifier: Apache-2.0
//! The modules that are part of the program.

use super::*;
use crate::yang::{IETF_INET_TYPES, IETF_YANG_TYPES};
use yang_rs::core::YangStmt;
use yang_rs::parser::Parser;

const LEADER: &str = include_str!("../../../yang/snabb-config-leader-v1.yang");
const GATEWAY: &str = include_str!("../../../yang/vita-esp-gateway.yang");

#[test]
fn all_modules_conform_to_the_grammar_of_yang() {
    for source in [IETF_YANG_TYPES, IETF_INET_TYPES, LEADER, GATEWAY] {
        let module = Parser::new(source.to_string()).parse_yang().unwrap();
        assert!(matches!(module, YangStmt::ModuleStmt(_)));
    }
}

#[test]
fn all_modules_compile() {
    Schema::compile(LEADER, &[], &[]).unwrap();
    let gateway = Schema::compile(GATEWAY, &[IETF_YANG_TYPES, IETF_INET_TYPES], &[]).unwrap();
    assert_eq!(gateway.name, "vita-esp-gateway");
    assert!(Schema::compile(GATEWAY, &[IETF_YANG_TYPES], &[]).is_err());
}
