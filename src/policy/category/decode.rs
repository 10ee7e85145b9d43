//! A `kind: CategoryList` document, typed.

use std::sync::Arc;

use super::super::document::{LONGEST_NAME, pattern};
use super::{Category, CategoryList, DOCUMENT_KEYS, LIST_METADATA_KEYS, LIST_SPEC_KEYS, PART_KEYS, Part};
use crate::source::{Kind, Spot, quoted};

/// A `kind: CategoryList` document, when nothing of it is wrong.
pub(in crate::policy) fn decode(spot: &Spot<'_>) -> Option<CategoryList> {
    let before = spot.decoder().errors();
    let fields = spot.fields(&DOCUMENT_KEYS)?;
    let mut name = None;
    if let Some(spot) = fields.require("metadata")
        && let Some(fields) = spot.fields(&LIST_METADATA_KEYS)
    {
        name = fields.require("name").and_then(|spot| spot.word(LONGEST_NAME).map(Arc::from));
    }
    let mut version = None;
    let mut categories = Vec::new();
    if let Some(spot) = fields.require("spec")
        && let Some(fields) = spot.fields(&LIST_SPEC_KEYS)
    {
        let number = fields.require("version").and_then(|spot| spot.integer(1, u64::from(u32::MAX)));
        version = number.and_then(|number| u32::try_from(number).ok());
        if let Some(spot) = fields.require("categories") {
            categories = named(&spot, |name, spot| Category { name, parts: named(spot, part) });
        }
    }
    if spot.decoder().errors() > before {
        return None;
    }
    Some(CategoryList { name: name?, version: version?, categories, place: spot.place() })
}

/// The entries of a mapping with free keys, which are names.
fn named<T>(spot: &Spot<'_>, decode: impl Fn(Arc<str>, &Spot<'_>) -> T) -> Vec<T> {
    if !spot.is_map() {
        spot.error(format!("expected a mapping, found {}", spot.node().kind.noun()));
        return Vec::new();
    }
    let mut found = Vec::new();
    for (key, value) in spot.entries() {
        let shaped = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if key.text.is_empty() || key.text.len() > LONGEST_NAME || !key.text.bytes().all(shaped) {
            value.error_cure(
                format!("{} is not a name", quoted(&key.text)),
                "write lower-case letters, digits and `-`",
            );
        }
        found.push(decode(Arc::clone(&key.text), &value));
    }
    found
}

/// One part.
fn part(name: Arc<str>, spot: &Spot<'_>) -> Part {
    let mut part = Part {
        name,
        hosts: Vec::new(),
        templates: Vec::new(),
        optional: false,
        exfil: false,
        plain_http: false,
        note: None,
    };
    let Some(fields) = spot.fields(&PART_KEYS) else { return part };
    if let Some(spot) = fields.require("hosts") {
        for item in spot.items() {
            match &item.node().kind {
                Kind::Text(text) if text.contains('{') => part.templates.push(text.as_str().into()),
                Kind::Text(_)
                | Kind::Null
                | Kind::Bool(_)
                | Kind::Int(_)
                | Kind::Float(_)
                | Kind::List(_)
                | Kind::Map(_) => {
                    part.hosts.extend(pattern(&item));
                }
            }
        }
    }
    part.optional = fields.get("optional").and_then(|spot| spot.boolean()).unwrap_or(false);
    part.exfil = fields.get("risk").and_then(|spot| spot.choice(&[("exfil", true)])).unwrap_or(false);
    if let Some(spot) = fields.get("scheme") {
        part.plain_http = spot.each(|item| item.choice(&[("http", true), ("https", false)])).contains(&true);
    }
    part.note = fields.get("note").and_then(|spot| spot.text()).map(Arc::from);
    if let Some(spot) = fields.get("src") {
        let _sources = spot.each(|item| item.text().map(drop));
    }
    part
}
