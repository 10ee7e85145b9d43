//! Plans of header edits over what clients send: exactly one value of a secret's header and ours, nothing else touched,
//! the last edit wins, and a second time changes nothing.
#![no_main]

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use sluicegate::policy::Plan;
use sluicegate::policy::document::{KeySource, Scrub, SecretSource};
use sluicegate::policy::plan::{Change, Edit, EditValue, Format, SecretUse};
use sluicegate::proxy::inject::apply;
use sluicegate::secrets::Revealed;
use sluicegate::wire::headers::{KeepUpgrade, strip_request};

/// A name as servers see it that make environment variables of headers.
fn folded(name: &str) -> String {
    name.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-")
}

/// One use of a secret.
fn secret(name: &str, format: &str) -> SecretUse {
    SecretUse {
        name: name.into(),
        source: Arc::new(KeySource::Given(SecretSource::Env("X".into()))),
        format: Format::new(format).unwrap_or_default(),
        scrub: Scrub::Never,
    }
}

// Lines: the value of the secret, then edits (`s`, `i`, `S`, `I`, `r`, then the name) up to an empty line, then headers.
fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let value = Revealed::new(lines.next().unwrap_or_default());
    let mut edits = Vec::new();
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        let Some((verb, name)) = line.split_first() else { break };
        let Ok(name) = HeaderName::from_bytes(name) else { return };
        let change = match verb {
            b's' => Change::Set(EditValue::Text("text".into())),
            b'i' => Change::Insert(EditValue::Text("text".into())),
            b'S' => Change::Set(EditValue::Secret(secret("a/b", "Bearer {value}"))),
            b'I' => Change::Insert(EditValue::Secret(secret("a/c", "{value}"))),
            _ => Change::Remove,
        };
        edits.push(Edit { name: name.as_str().into(), change });
    }
    let mut headers = HeaderMap::new();
    for line in lines.take(100) {
        let mut halves = line.splitn(2, |byte| *byte == b':');
        if let (Some(Ok(name)), Some(Ok(value))) =
            (halves.next().map(HeaderName::from_bytes), halves.next().map(HeaderValue::from_bytes))
        {
            headers.append(name, value);
        }
    }
    strip_request(&mut headers, KeepUpgrade::No);
    let before = headers.clone();
    let plan = Plan::new(edits.clone());
    let result = apply(&plan, &mut |_| Some(value.clone()), &mut headers);
    let Ok(applied) = result else {
        assert_eq!(headers, before);
        return;
    };
    let is = |change: &Change| {
        matches!(change, Change::Set(EditValue::Secret(_)) | Change::Insert(EditValue::Secret(_)))
    };
    for name in headers.keys().chain(before.keys()) {
        let named: Vec<_> = edits.iter().filter(|edit| folded(&edit.name) == folded(name.as_str())).collect();
        let all: Vec<_> = headers.get_all(name).iter().collect();
        if named.is_empty() {
            assert_eq!(all, before.get_all(name).iter().collect::<Vec<_>>());
        }
        if named.iter().any(|edit| is(&edit.change)) {
            let same = headers.keys().filter(|other| folded(other.as_str()) == folded(name.as_str()));
            assert!(same.count() <= 1 && all.len() <= 1);
            assert!(all.iter().all(|found| found.is_sensitive() || *found == "text"));
        }
        if let Some(last) = named.last() {
            match &last.change {
                Change::Remove => assert!(all.is_empty()),
                change if is(change) => {
                    assert!(headers[last.name.as_ref()].is_sensitive());
                    assert!(all.is_empty() || name.as_str() == last.name.as_ref());
                }
                Change::Set(_) => assert_eq!(headers[last.name.as_ref()], "text"),
                Change::Insert(_) => {
                    assert!(headers.keys().any(|other| folded(other.as_str()) == folded(&last.name)));
                }
            }
        }
    }
    assert!(applied.secrets.is_empty() || headers.values().any(HeaderValue::is_sensitive));
    let once = headers.clone();
    apply(&plan, &mut |_| Some(value.clone()), &mut headers).unwrap();
    assert_eq!(headers, once);
});
