//! Paths: no panic, and a canonical path is its own canonical form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate::wire::path::canonicalise;

fuzz_target!(|text: &str| {
    let Ok(path) = canonicalise(text) else { return };
    assert_eq!(canonicalise(&path).as_deref(), Ok(&*path));
    assert!(path.starts_with('/') && !path.contains("//") && !path.contains('\\'));
    assert!(!path.split('/').any(|segment| segment == "." || segment == ".."));
    assert!(!["%2F", "%5C", "%00"].iter().any(|escape| path.contains(escape)));
});
