//! The schema of the process configuration.

use serde_json::{Value, json};

use super::{list, number, object, of, per_sandbox, unbuilt, whole, words};

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
