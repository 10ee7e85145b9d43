//! The schema of the documents of a policy file.

use serde_json::{Value, json};

use super::{list, number, object, of, per_sandbox, unbuilt, whole, words};
use crate::policy::document::{API_VERSION, vnet};

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
