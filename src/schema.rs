//! JSON Schemas of what this version accepts, for editors and for `sluicegate schema`.
//!
//! They describe shapes; what a schema cannot say (host bits of a network, contradictions, references) the decoders do.
//! A field that the language has and this version has not is in the schema as one that takes no value.

use serde_json::{Value, json};

use crate::policy::Limit;
use crate::policy::document::{API_VERSION, LONGEST_NAME, vnet};

/// The dialect of both schemas.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// A mapping with these keys and no others.
fn object(required: &[&str], properties: Value) -> Value {
    let mut schema = json!({"type": "object", "additionalProperties": false, "required": required});
    if let Some(map) = schema.as_object_mut() {
        map.insert("properties".to_owned(), properties);
    }
    schema
}

/// A list of at least so many of these.
fn list(least: u32, items: Value) -> Value {
    let mut schema = json!({"type": "array", "minItems": least});
    if let Some(map) = schema.as_object_mut() {
        map.insert("items".to_owned(), items);
    }
    schema
}

/// A field of the language that this version does not have.
fn unbuilt() -> Value {
    json!({"description": "Not in this version.", "not": {}})
}

/// A reference to a definition.
fn of(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{name}")})
}

/// One of these words.
fn words(words: &[&str]) -> Value {
    json!({"enum": words})
}

/// A whole number of this range.
fn number(least: u64, most: u64) -> Value {
    json!({"type": "integer", "minimum": least, "maximum": most})
}

/// Parts that both schemas use.
fn shared() -> Value {
    json!({
        "name": {"type": "string", "minLength": 1, "maxLength": LONGEST_NAME, "pattern": "^\\S(.*\\S)?$"},
        "path": {"type": "string", "minLength": 1, "maxLength": 4096},
        "network": {"type": "string", "pattern": "^[0-9A-Fa-f.:]+/[0-9]{1,3}$"},
        "prefix": {"type": "string", "pattern": "^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$"},
        "socket": {"type": "string", "pattern": "^([0-9.]+|\\[[0-9A-Fa-f:.]+\\]):[0-9]{1,5}$"},
        "variable": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "maxLength": 256},
        "pattern": {"type": "string", "minLength": 1, "description": "example.com, *.example.com, *, 192.0.2.7, [2001:db8::1], db.corp:5432"},
        "source": {"oneOf": [
            object(&["file"], json!({"file": of("path")})),
            object(&["env"], json!({"env": of("variable")})),
        ]},
    })
}

/// A schema with its definitions.
fn whole(title: &str, mut schema: Value, definitions: Value) -> Value {
    let mut defs = shared();
    if let (Some(all), Value::Object(more)) = (defs.as_object_mut(), definitions) {
        all.extend(more);
    }
    if let Some(map) = schema.as_object_mut() {
        map.insert("$schema".to_owned(), json!(DIALECT));
        map.insert("title".to_owned(), json!(title));
        map.insert("$defs".to_owned(), defs);
    }
    schema
}

/// The schema of one document of a policy file.
#[must_use]
pub fn policy() -> Value {
    let kinds = json!({"oneOf": [of("spec"), of("egressPolicy"), of("secret"), of("categoryList")]});
    let mut definitions = json!({
        "action": words(&["Allow", "Deny"]),
        "ports": list(1, json!({"oneOf": [number(1, 65535), {"type": "string", "pattern": "^[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?$"}]})),
        "spec": spec(),
        "egressPolicy": egress_policy(),
        "secret": secret(),
        "keySource": key_source(),
        "categoryList": category_list(),
    });
    if let Some(map) = definitions.as_object_mut() {
        map.insert(
            "hostRule".to_owned(),
            json!({"oneOf": [
                of("pattern"),
                object(&["pattern"], json!({"pattern": of("pattern"), "action": of("action")})),
            ]}),
        );
        let cidr = json!({"cidr": of("network"), "action": of("action"), "ports": of("ports")});
        map.insert("cidrRule".to_owned(), object(&["cidr", "action"], cidr));
        map.insert("rule".to_owned(), rule());
        map.insert("header".to_owned(), header());
        let one =
            json!({"type": "string", "pattern": "^[^*]+$", "description": "One host, perhaps with a port."});
        map.insert("oneHost".to_owned(), one);
    }
    whole("Sluicegate policy", kinds, definitions)
}

/// `spec`.
fn spec() -> Value {
    object(
        &[],
        json!({
            "defaultAction": of("action"),
            "hostRules": list(0, of("hostRule")),
            "rules": list(0, of("rule")),
            "trafficInspection": words(&["Partial", "Full", "Legacy", "None"]),
            "mode": words(&["Unrestricted", "Limited", "VNet"]),
            "cidrRules": list(0, of("cidrRule")),
            "ports": of("ports"),
            "categories": list(0, json!({"type": "string", "pattern": "^[^/]+(/[^/]+)?$"})),
            "categoriesVersion": number(1, u64::from(u32::MAX)),
            "vnet": vnet(),
            "skipEgressProxy": {"type": "boolean"},
            "enforcement": words(&["Enforce", "Report"]),
            "constraints": object(&[], json!({
                "maxMode": words(&["Limited", "VNet", "Unrestricted"]),
                "managedPath": words(&["Forbidden"]),
                "skipEgressProxy": words(&["Permitted"]),
                "minInspection": words(&["None", "Partial", "Legacy", "Full"]),
            })),
            "limits": per_sandbox(),
            "ask": unbuilt(),
            "hooks": unbuilt(),
        }),
    )
}

/// `vnet`.
fn vnet() -> Value {
    let switches = |keys: &[&str]| {
        let all = keys.iter().map(|key| ((*key).to_owned(), json!({"type": "boolean"})));
        object(&[], Value::Object(all.collect()))
    };
    let name = json!({"type": "string", "minLength": 1, "pattern": "^[^*]+$", "description": "One host, perhaps with a port."});
    let managed = object(
        &[],
        json!({
            "packageRegistries": switches(&vnet::REGISTRY_KEYS),
            "codeRepositories": switches(&vnet::REPOSITORY_KEYS),
            "remoteMcpServers": list(0, name),
            "additionalHosts": list(0, of("pattern")),
        }),
    );
    let address = || json!({"oneOf": [{"const": "*"}, of("network")]});
    let protocols: Vec<&str> = vnet::PROTOCOLS.iter().map(|(word, _)| *word).collect();
    let (least, most) = vnet::PRIORITIES;
    let rule = object(
        &["name", "priority", "action", "destination"],
        json!({
            "name": of("name"),
            "priority": number(least, most),
            "action": of("action"),
            "destination": {"oneOf": [{"const": "*"}, of("network"), list(1, address())]},
            "ports": {"oneOf": [{"const": "*"}, of("ports")]},
            "protocol": words(&protocols),
        }),
    );
    object(
        &["network"],
        json!({"network": of("name"), "securityRules": list(1, rule), "managedPath": managed}),
    )
}

/// A `rules` entry.
fn rule() -> Value {
    let headers = |least| list(least, of("header"));
    let new = json!({
        "type": {"const": "Rewrite"},
        "host": of("oneHost"),
        "path": {"type": "string", "pattern": "^/[^*?#]*$"},
        "scheme": words(&["http", "https"]),
        "headers": headers(0),
    });
    let mut rewrite = object(&["type"], new);
    if let Some(map) = rewrite.as_object_mut() {
        let one = ["host", "path", "scheme"].map(|key| json!({"required": [key]}));
        map.insert("anyOf".to_owned(), json!(one));
    }
    let action = json!({"oneOf": [
        of("action"),
        object(&["type"], json!({"type": of("action")})),
        object(&["type", "headers"], json!({"type": {"const": "Transform"}, "headers": headers(1)})),
        rewrite,
    ]});
    let facts = json!({
        "host": of("pattern"),
        "path": {"type": "string", "pattern": "^/"},
        "methods": list(1, json!({"type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"})),
    });
    object(
        &["match", "action"],
        json!({"name": of("name"), "match": object(&["host"], facts), "action": action}),
    )
}

/// A header operation of a `Transform` or `Rewrite`.
fn header() -> Value {
    let name = || json!({"type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"});
    let format = || json!({"type": "string", "pattern": "^[^{]*\\{value\\}[^{]*$", "maxLength": 8192});
    let resource = || json!({"type": "string", "minLength": 1, "maxLength": 2048});
    let secret = json!({"secretId": of("name"), "secretKey": of("name"), "format": format()});
    let system = json!({"type": {"const": "SystemAssigned"}, "resource": resource(), "format": format()});
    let user = json!({
        "type": {"const": "UserAssigned"}, "resource": resource(), "identityResourceId": resource(), "format": format(),
    });
    let identity = json!({"oneOf": [
        object(&["type", "resource"], system),
        object(&["type", "resource", "identityResourceId"], user),
    ]});
    let reference = json!({"oneOf": [
        object(&["secretRef"], json!({"secretRef": object(&["secretId"], secret)})),
        object(&["managedIdentityRef"], json!({"managedIdentityRef": identity})),
    ]});
    let put = words(&["Set", "Insert"]);
    let text = json!({"type": "string", "pattern": "^[\\x20-\\x7e\\t]*$", "maxLength": 8192});
    json!({"oneOf": [
        object(&["operation", "name", "value"], json!({"operation": put, "name": name(), "value": text})),
        object(&["operation", "name", "valueRef"], json!({"operation": put, "name": name(), "valueRef": reference})),
        object(&["operation", "name"], json!({"operation": {"const": "Remove"}, "name": name()})),
    ]})
}

/// `limits` of a policy, and `limits.perSandbox` of the process configuration.
fn per_sandbox() -> Value {
    let described = |limit: Limit| {
        let mut schema = number(1, limit.largest());
        if let Some(map) = schema.as_object_mut() {
            map.insert("description".to_owned(), json!(format!("{} of one sandbox.", limit.unit())));
        }
        (limit.key().to_owned(), schema)
    };
    object(&[], Value::Object(Limit::ALL.into_iter().map(described).collect()))
}

/// A document with this kind.
fn envelope(kind: &str, required: &[&str], metadata: &Value, spec: &Value) -> Value {
    let properties = json!({"apiVersion": {"const": API_VERSION}, "kind": {"const": kind}, "metadata": metadata, "spec": spec});
    object(required, properties)
}

/// `kind: EgressPolicy`.
fn egress_policy() -> Value {
    let metadata = json!({
        "name": of("name"),
        "scope": words(&["Global", "Group", "Sandbox"]),
        "group": of("name"),
        "sandbox": of("name"),
        "removed": {"type": "boolean"},
    });
    envelope("EgressPolicy", &["kind", "metadata"], &object(&["name"], metadata), &of("spec"))
}

/// `kind: Secret`.
fn secret() -> Value {
    let keys = json!({"type": "object", "minProperties": 1, "propertyNames": {"minLength": 1}, "additionalProperties": of("keySource")});
    let spec = object(
        &["keys"],
        json!({
            "keys": keys, "hosts": list(1, of("pattern")),
            "scrub": words(&["Text", "Always", "Never"]), "placeholder": {"type": "boolean"},
        }),
    );
    let metadata = json!({"name": of("name"), "group": of("name"), "removed": {"type": "boolean"}});
    envelope("Secret", &["kind", "metadata"], &object(&["name"], metadata), &spec)
}

/// Where the value of a secret's key comes from.
fn key_source() -> Value {
    let word = |longest: u32| json!({"type": "string", "minLength": 1, "maxLength": longest});
    let url = |pattern: &str| json!({"type": "string", "pattern": pattern, "maxLength": 2048});
    let client = object(
        &["tokenUrl", "clientId", "clientSecret"],
        json!({
            "tokenUrl": url("^https://[^#@]+$"), "clientId": word(256), "clientSecret": of("source"),
            "scope": word(2048), "audience": word(2048),
        }),
    );
    let app = object(
        &["app", "installation", "privateKey"],
        json!({
            "app": {"oneOf": [number(1, u64::MAX), word(64)]}, "installation": number(1, u64::MAX),
            "privateKey": of("source"), "api": url("^https://[^?#@]+$"),
        }),
    );
    json!({"oneOf": [
        object(&["file"], json!({"file": of("path")})),
        object(&["env"], json!({"env": of("variable")})),
        object(&["clientCredentials"], json!({"clientCredentials": client})),
        object(&["githubApp"], json!({"githubApp": app})),
    ]})
}

/// `kind: CategoryList`.
fn category_list() -> Value {
    let part = object(
        &["hosts"],
        json!({
            "hosts": list(0, json!({"type": "string", "minLength": 1})),
            "optional": {"type": "boolean"},
            "risk": words(&["exfil"]),
            "scheme": list(0, words(&["http", "https"])),
            "note": {"type": "string"},
            "src": list(0, json!({"type": "string"})),
        }),
    );
    let names = json!({"pattern": "^[a-z0-9-]+$"});
    let parts = json!({"type": "object", "propertyNames": names, "additionalProperties": part});
    let categories = json!({"type": "object", "propertyNames": names, "additionalProperties": parts});
    let spec = object(
        &["version", "categories"],
        json!({"version": number(1, u64::from(u32::MAX)), "categories": categories}),
    );
    envelope(
        "CategoryList",
        &["kind", "metadata", "spec"],
        &object(&["name"], json!({"name": of("name")})),
        &spec,
    )
}

/// A way in.
fn listener() -> Value {
    object(
        &["address"],
        json!({
            "address": of("socket"), "kind": words(&["Explicit", "Transparent", "Dns"]),
            "mode": words(&["Redirect", "TProxy"]), "sandbox": of("name"), "proxyProtocol": list(1, of("prefix")),
            "denied": words(&["NxDomain", "Refused"]),
            "distinctNamesPerMinute": number(1, 100_000), "maxNameBytes": number(1, 253),
            "maxLabelBytes": number(1, 63), "maxLabelBits": number(1, 400),
        }),
    )
}

/// The schema of the process configuration.
#[must_use]
pub fn config() -> Value {
    let token = object(
        &["name", "role", "token"],
        json!({
            "name": of("name"), "role": words(&["Owner", "Reader"]), "token": of("source"),
        }),
    );
    let sandbox = object(
        &["id"],
        json!({
            "id": of("name"), "group": of("name"), "sources": list(1, of("prefix")), "token": of("source"),
            "requirePolicy": {"type": "boolean"},
        }),
    );
    let file = object(
        &["path"],
        json!({
            "path": of("path"), "maxBytes": number(4096, 1 << 50), "keep": number(1, 10_000),
        }),
    );
    let definitions = json!({
        "token": token,
        "listener": listener(),
        "parentUrl": {"type": "string", "pattern": "^(https?|socks5)://[^/?#@]+/?$", "maxLength": 256},
        "sandbox": sandbox,
        "sink": {"oneOf": [
            object(&["stdout"], json!({"stdout": object(&[], json!({}))})),
            object(&["file"], json!({"file": file})),
        ]},
    });
    let properties = json!({
        "policy": object(&["path"], json!({"path": of("path")})),
        "listeners": list(1, of("listener")),
        "admin": object(&[], json!({
            "address": of("socket"), "socket": of("path"), "tls": unbuilt(), "tokens": list(0, of("token")),
        })),
        "dns": object(&[], json!({"servers": list(1, of("socket")), "maxTtlSeconds": number(0, 86_400)})),
        "ech": words(&["Allow", "Deny"]),
        "networks": networks(),
        "skipEgressProxy": words(&["Permitted"]),
        "guards": guards(),
        "secrets": secrets(),
        "intercept": object(&["certificate", "key"], json!({
            "certificate": of("path"), "key": of("path"), "upstreamRoots": list(0, of("path")), "exclude": list(0, of("pattern")),
        })),
        "sandboxes": list(0, of("sandbox")),
        "audit": object(&[], json!({
            "sinks": list(1, of("sink")), "onFull": words(&["Block", "Drop", "Deny"]), "open": {"type": "boolean"},
        })),
        "limits": limits(),
        "capture": capture(),
    });
    whole("Sluicegate configuration", object(&[], properties), definitions)
}

/// `secrets` of the process configuration.
fn secrets() -> Value {
    let allow = json!({
        "directories": list(0, json!({"type": "string", "pattern": "^/"})), "env": list(0, of("variable")),
    });
    let near = json!({"type": "string", "pattern": "^https?://[^?#@]+$", "maxLength": 2048});
    let workload = json!({
        "tenant": {"type": "string", "pattern": "^[A-Za-z0-9-][A-Za-z0-9.-]*$", "maxLength": 253},
        "clientId": {"type": "string", "minLength": 1, "maxLength": 256}, "tokenFile": of("path"),
        "authority": {"type": "string", "pattern": "^https://[^?#@]+$", "maxLength": 2048},
    });
    let identity = json!({"oneOf": [
        object(&["endpoint"], json!({"endpoint": near, "header": of("source")})),
        object(&["tenant", "clientId", "tokenFile"], workload),
    ]});
    object(&[], json!({"allow": object(&[], allow), "managedIdentity": identity}))
}

/// `networks` of the process configuration.
fn networks() -> Value {
    let proxy = json!({"oneOf": [
        of("parentUrl"),
        object(&["url"], json!({
            "url": of("parentUrl"), "serverName": {"type": "string", "minLength": 1, "maxLength": 253},
            "username": {"type": "string", "minLength": 1, "maxLength": 255}, "password": of("source"),
        })),
    ]});
    let address = json!({"type": "string", "pattern": "^[0-9A-Fa-f.:]+$"});
    let mark = json!({"oneOf": [
        number(1, u64::from(u32::MAX)),
        {"type": "string", "pattern": "^(0[xX][0-9A-Fa-f]+|[0-9]+)(/(0[xX][0-9A-Fa-f]+|[0-9]+))?$"},
    ]});
    let common = |mut more: Value| {
        let mut all = json!({
            "interface": {"type": "string", "pattern": "^[^\\s/:*]{1,15}$"},
            "sourceAddress": {"oneOf": [address, {"type": "array", "items": address, "minItems": 1, "maxItems": 2}]},
            "mark": mark, "dns": list(1, of("socket")), "proxy": proxy, "resolve": words(&["Local", "Remote"]),
        });
        if let (Some(all), Some(more)) = (all.as_object_mut(), more.as_object_mut()) {
            all.append(more);
        }
        object(&[], all)
    };
    json!({
        "type": "object",
        "properties": {"managed": common(json!({"platformHosts": list(0, of("pattern"))}))},
        "additionalProperties": common(json!({"groups": list(1, of("name"))})),
    })
}

/// `guards` of the process configuration.
fn guards() -> Value {
    let prefixes = || list(0, of("prefix"));
    object(&[], json!({"exempt": prefixes(), "nat64": list(0, of("network")), "self": prefixes()}))
}

/// `capture` of the process configuration.
fn capture() -> Value {
    let interface = json!({
        "name": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,15}$|^[A-Za-z0-9._-]{1,14}\\*$"},
        "sources": list(0, of("prefix")),
        "sandbox": of("name"),
    });
    object(
        &[],
        json!({
            "interfaces": list(1, object(&["name"], interface)),
            "ipv6": {"type": "boolean"}, "gatewayAddresses": list(0, json!({"type": "string"})),
            "sidecarUid": number(1, u64::from(u32::MAX - 1)),
        }),
    )
}

/// `limits` of the process configuration.
fn limits() -> Value {
    let time = |least| number(least, 30 * 86_400_000);
    object(
        &[],
        json!({
            "connections": number(1, 1_000_000), "perSandbox": per_sandbox(), "headerBytes": number(1024, 1 << 20), "headerTimeoutMs": time(1),
            "connectTimeoutMs": time(1), "idleTimeoutMs": time(1), "drainTimeoutMs": time(0),
        }),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
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
        let found =
            schema.pointer(pointer).and_then(|value| value.get("properties")).and_then(Value::as_object);
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
            (
                "/$defs/header/oneOf/1/properties/valueRef/oneOf/0/properties/secretRef",
                &header::SECRET_REF_KEYS,
            ),
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
                let value = if value.get("$ref").is_some() {
                    schema.pointer("/$defs/action").unwrap()
                } else {
                    value
                };
                let words = value.get("enum").and_then(Value::as_array).unwrap().clone();
                words.into_iter().map(move |word| (key, word))
            })
        {
            let file: Arc<str> = "p.yaml".into();
            let parsed = crate::policy::document::parse(&file, &format!("{key}: {word}"));
            assert!(parsed.problems.is_empty(), "{key}: {word}");
        }
    }
}
