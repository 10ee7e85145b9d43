//! The schemas and the decoders know the same keys and words.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::config::{audit, capture, identity, listen, network, secrets as sources, uplink};
use crate::policy::category;
use crate::policy::document::{
    destination, header, key_source, limit as per_sandbox, metadata, rule as rules, secret as secrets,
    spec as specs, transform,
};

fn same(schema: &Value, pointer: &str, keys: &[&str]) {
    let found = schema.pointer(pointer).and_then(|value| value.get("properties")).and_then(Value::as_object);
    let found: BTreeSet<&str> =
        found.unwrap_or_else(|| panic!("nothing at {pointer}")).keys().map(String::as_str).collect();
    assert_eq!(found, keys.iter().copied().collect(), "{pointer}");
}

#[test]
fn the_policy_schema_has_every_key_the_decoder_knows_and_no_other() {
    let schema = policy();
    for (pointer, keys) in [
        ("/$defs/spec", &specs::SPEC_KEYS[..]),
        ("/$defs/spec/properties/constraints", &specs::CONSTRAINT_KEYS),
        ("/$defs/spec/properties/limits", &per_sandbox::LIMIT_KEYS),
        ("/$defs/hostRule/oneOf/1", &destination::HOST_RULE_KEYS),
        ("/$defs/cidrRule", &destination::CIDR_RULE_KEYS),
        ("/$defs/rule", &rules::RULE_KEYS),
        ("/$defs/rule/properties/match", &rules::MATCH_KEYS),
        ("/$defs/rule/properties/action/oneOf/3", &transform::ACTION_KEYS),
        ("/$defs/header/oneOf/0", &["operation", "name", "value"]),
        ("/$defs/header/oneOf/1", &["operation", "name", "valueRef"]),
        ("/$defs/header/oneOf/1/properties/valueRef/oneOf/0/properties/secretRef", &header::SECRET_REF_KEYS),
        (
            "/$defs/header/oneOf/1/properties/valueRef/oneOf/1/properties/managedIdentityRef/oneOf/1",
            &header::IDENTITY_REF_KEYS,
        ),
        ("/$defs/egressPolicy", &metadata::DOCUMENT_KEYS),
        ("/$defs/egressPolicy/properties/metadata", &metadata::METADATA_KEYS),
        ("/$defs/secret", &metadata::DOCUMENT_KEYS),
        ("/$defs/secret/properties/metadata", &secrets::SECRET_METADATA_KEYS),
        ("/$defs/secret/properties/spec", &secrets::SECRET_SPEC_KEYS),
        ("/$defs/categoryList", &category::DOCUMENT_KEYS),
        ("/$defs/categoryList/properties/metadata", &category::LIST_METADATA_KEYS),
        ("/$defs/categoryList/properties/spec", &category::LIST_SPEC_KEYS),
        (
            "/$defs/categoryList/properties/spec/properties/categories/additionalProperties/additionalProperties",
            &category::PART_KEYS,
        ),
    ] {
        same(&schema, pointer, keys);
    }
    let source = |index: usize| format!("/$defs/source/oneOf/{index}");
    let both = secrets::SOURCE_KEYS;
    same(&schema, &source(0), both.get(..1).unwrap());
    same(&schema, &source(1), both.get(1..).unwrap());
    for (index, key) in key_source::KEY_SOURCE_KEYS.into_iter().enumerate() {
        same(&schema, &format!("/$defs/keySource/oneOf/{index}"), &[key]);
    }
    let client = "/$defs/keySource/oneOf/2/properties/clientCredentials";
    same(&schema, client, &key_source::CLIENT_KEYS);
    same(&schema, "/$defs/keySource/oneOf/3/properties/githubApp", &key_source::APP_KEYS);
}

#[test]
fn the_configuration_schema_has_every_key_the_decoder_knows_and_no_other() {
    let schema = config();
    let managed_keys = uplink::UPLINK_KEYS.map(|key| if key == "groups" { "dns" } else { key });
    let proxy = "/properties/networks/properties/managed/properties/proxy";
    for (pointer, keys) in [
        ("", &crate::config::CONFIG_KEYS[..]),
        ("/properties/policy", &network::POLICY_KEYS),
        ("/properties/admin", &listen::ADMIN_KEYS),
        ("/properties/dns", &network::DNS_KEYS),
        ("/properties/networks/properties/managed", &managed_keys),
        ("/properties/networks/additionalProperties", uplink::UPLINK_KEYS.get(..7).unwrap()),
        (&format!("{proxy}/oneOf/1"), &uplink::PROXY_KEYS),
        ("/properties/guards", &network::GUARD_KEYS),
        ("/properties/secrets", &sources::SECRETS_KEYS),
        ("/properties/secrets/properties/allow", &sources::ALLOW_KEYS),
        ("/properties/intercept", &network::INTERCEPT_KEYS),
        ("/properties/audit", &audit::AUDIT_KEYS),
        ("/properties/limits", &network::LIMIT_KEYS),
        ("/properties/capture", &capture::CAPTURE_KEYS),
        ("/properties/capture/properties/interfaces/items", &capture::INTERFACE_KEYS),
        ("/properties/limits/properties/perSandbox", &per_sandbox::LIMIT_KEYS),
        ("/$defs/listener", &listen::LISTENER_KEYS),
        ("/$defs/token", &listen::TOKEN_KEYS),
        ("/$defs/sandbox", &identity::SANDBOX_KEYS),
        ("/$defs/sink/oneOf/1/properties/file", &audit::FILE_KEYS),
    ] {
        same(&schema, pointer, keys);
    }
    let identity = |index| format!("/properties/secrets/properties/managedIdentity/oneOf/{index}");
    same(&schema, &identity(0), sources::IDENTITY_KEYS.get(..2).unwrap());
    same(&schema, &identity(1), sources::IDENTITY_KEYS.get(2..).unwrap());
}

#[test]
fn every_reference_of_a_schema_has_its_definition() {
    for schema in [policy(), config()] {
        let text = schema.to_string();
        for name in text.split("#/$defs/").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(schema.pointer(&format!("/$defs/{name}")).is_some(), "{name}");
        }
    }
}

#[test]
fn the_decoder_accepts_what_the_schema_lists_as_words() {
    let schema = policy();
    for (key, word) in
        ["mode", "trafficInspection", "enforcement", "defaultAction"].into_iter().flat_map(|key| {
            let value = schema.pointer(&format!("/$defs/spec/properties/{key}")).unwrap();
            let value =
                if value.get("$ref").is_some() { schema.pointer("/$defs/action").unwrap() } else { value };
            let words = value.get("enum").and_then(Value::as_array).unwrap().clone();
            words.into_iter().map(move |word| (key, word))
        })
    {
        let file: Arc<str> = "p.yaml".into();
        let more = if word == "VNet" { "\nvnet: {network: prod}" } else { "" };
        let parsed = crate::policy::document::parse(&file, &format!("{key}: {word}{more}"));
        assert!(parsed.problems.is_empty(), "{key}: {word}");
    }
}
