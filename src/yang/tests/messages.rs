// SPDX-License-Identifier: Apache-2.0
//! Messages between daemon and client, as deployed programs send them.

use crate::yang::rpc::{Leaves, Message, RpcError, parse_calls, parse_replies, print_call, print_reply};

#[test]
fn calls_of_the_stock_client_are_read_and_printed_byte_for_byte() {
    for text in [
        "describe {\n}\n",
        "get-schema {\n  schema vita-esp-gateway;\n}\n",
        "get-config {\n  format yang;\n  path \"/mtu\";\n  print-default false;\n  schema vita-esp-gateway;\n}\n",
        "set-config {\n  config 1500;\n  path \"/mtu\";\n  schema vita-esp-gateway;\n}\n",
        "add-config {\n  config \"{\\n  ip 7.7.7.7;\\n  queue 2;\\n}\\n\";\n  path \"/route4[id=r1]/gateway\";\n  schema vita-esp-gateway;\n}\n",
        "remove-config {\n  path \"/route4[id=r1]/gateway[ip=7.7.7.7]\";\n  schema vita-esp-gateway;\n}\n",
        "get-state {\n  format yang;\n  path \"/gateway-state/private-router\";\n  print-default false;\n  schema vita-esp-gateway;\n}\n",
    ] {
        let calls = parse_calls(text).unwrap();
        let [Message { name, leaves }] = calls.as_slice() else { panic!("{text}") };
        assert_eq!(print_call(name, leaves).unwrap(), text);
    }
}

#[test]
fn replies_of_the_stock_daemon_are_read_and_printed_byte_for_byte() {
    for text in [
        "describe {\n  default-schema vita-esp-gateway;\n  native-schema vita-esp-gateway;\n}\n",
        "get-schema {\n  source \"module vita-esp-gateway {\\n  // METADATA\\n\";\n}\n",
        "get-config {\n  config 8923;\n}\n",
        "set-config {\n}\n",
        "get-state {\n  state '';\n}\n",
        "get-state {\n  state \"mtu-errors 0;\\nroute-errors 0;\\nrxerrors 0;\\n\";\n}\n",
        "get-config {\n  error \"lib/yang/path_data.lua:61: Not found\";\n  status 1;\n}\n",
    ] {
        let replies = parse_replies(text).unwrap();
        let [Message { name, leaves }] = replies.as_slice() else { panic!("{text}") };
        assert_eq!(print_reply(name, leaves).unwrap(), text);
    }
}

#[test]
fn leaves_are_read_by_type() {
    let calls = parse_calls("get-config { schema a; print-default true; } describe { }").unwrap();
    assert_eq!(calls.len(), 2);
    let leaves = &calls[0].leaves;
    assert_eq!((leaves.text("schema").as_deref(), leaves.flag("print-default")), (Some("a"), true));
    assert_eq!((leaves.text("path"), leaves.flag("schema")), (None, false));
    let replies = parse_replies("set-config { status 1; error 'no luck'; }").unwrap();
    assert_eq!(replies[0].leaves.number("status"), Some(1));
    let seen: Vec<_> = replies[0].leaves.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(seen, ["error=no luck", "status=1"]);
}

#[test]
fn a_payload_may_be_empty() {
    assert_eq!(parse_calls(" // nothing\n"), Ok(vec![]));
}

#[test]
fn calls_that_are_not_of_the_module_are_refused() {
    for text in [
        "describe{}",
        "describe",
        "describe { };",
        "describe {",
        "describe yang;",
        "describe { schema a; }",
        "get-config { }",
        "get-config { schema a; schema b; }",
        "get-config { schema a; mood good; }",
        "get-config { schema a; print-default maybe; }",
        "get-config { schema a; path /mtu; }",
        "set-config { schema a; }",
        "reboot { }",
        "describe { } }",
    ] {
        assert!(parse_calls(text).is_err(), "{text}");
    }
    assert!(parse_calls("describe /**/ { }").is_ok());
}

#[test]
fn messages_are_printed_only_if_the_module_has_them() {
    let reply = print_reply("set-config", &Leaves::new().with("status", "1").with("error", "a b"));
    assert_eq!(reply.unwrap(), "set-config {\n  error \"a b\";\n  status 1;\n}\n");
    let call = print_call("get-state", &Leaves::new().with("schema", "s").with("print-default", false));
    assert_eq!(call.unwrap(), "get-state {\n  print-default false;\n  schema s;\n}\n");
    assert!(matches!(print_reply("reboot", &Leaves::new()), Err(RpcError::UnknownRpc(_))));
    let wrong = Leaves::new().with("status", 256u64);
    assert!(matches!(print_reply("set-config", &wrong), Err(RpcError::UnknownLeaf { .. })));
    let wrong = Leaves::new().with("mood", "good");
    assert!(matches!(print_reply("set-config", &wrong), Err(RpcError::UnknownLeaf { .. })));
    assert!(matches!(print_call("get-config", &Leaves::new()), Err(RpcError::Missing { .. })));
}

#[test]
fn operator_states_are_those_of_the_alarm_module() {
    let call = |state: &str| {
        format!(
            "set-alarm-operator-state {{ schema s; resource r; alarm-type-id t; alarm-type-qualifier q; state {state}; }}"
        )
    };
    assert!(parse_calls(&call("un-shelved")).is_ok());
    let message = parse_calls(&call("lost")).unwrap_err().to_string();
    assert!(message.contains("expected one of none, ack, closed, shelved, un-shelved"), "{message}");
}
