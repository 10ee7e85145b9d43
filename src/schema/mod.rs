//! JSON Schemas of what this version accepts, for editors and for `sluicegate schema`.
//!
//! They describe shapes; what a schema cannot say (host bits of a network, contradictions, references) the decoders do.
//! A field that the language has and this version has not is in the schema as one that takes no value.

use serde_json::{Value, json};

use crate::policy::Limit;
use crate::policy::document::LONGEST_NAME;

mod config;
mod policy;

pub use config::config;
pub use policy::policy;

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

#[cfg(test)]
mod tests;
