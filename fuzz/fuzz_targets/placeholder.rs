//! Placeholders in a head: none is left after the swap, nothing else is touched, and no value adds a header or parameter.
#![no_main]

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use sluicegate::secrets::Revealed;
use sluicegate::secrets::placeholder::{Parts, find, swap_headers, swap_query};

// Lines: the value of the secret, the query, `Authorization`, then cookies.
fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let secret = lines.next().unwrap_or_default();
    let query = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let mut headers = HeaderMap::new();
    if let Some(Ok(value)) = lines.next().map(HeaderValue::from_bytes) {
        headers.insert(AUTHORIZATION, value);
    }
    for value in lines.take(90).filter_map(|line| HeaderValue::from_bytes(line).ok()) {
        headers.append(COOKIE, value);
    }
    let parts = Parts { method: "GET", path: "/", query: Some(&query), headers: &headers };
    let Ok(found) = find(&parts) else { return };
    let revealed = Revealed::new(secret);
    let mut asked = Vec::new();
    let mut give = |found: &sluicegate::secrets::placeholder::Found| {
        asked.push(found.clone());
        Some(revealed.clone())
    };
    let mut swapped = headers.clone();
    let headers_done = swap_headers(&mut swapped, &mut give);
    let query_done = swap_query(&query, &mut give);
    if let (Ok(any), Ok(new)) = (headers_done, query_done) {
        assert_eq!(asked, found);
        assert_eq!(any || new.is_some(), !found.is_empty());
        let new = new.as_ref().map_or(query.as_str(), |new| new.as_str());
        let parts = Parts { method: "GET", path: "/", query: Some(new), headers: &swapped };
        assert_eq!(find(&parts), Ok(Vec::new()));
        for delimiter in ['&', '=', '#', ';', '+', ' ', '\r', '\n'] {
            assert_eq!(new.matches(delimiter).count(), query.matches(delimiter).count());
        }
        assert_eq!(swapped.len(), headers.len());
        for ((name, before), (_, after)) in headers.iter().zip(&swapped) {
            assert!(before == after || after.is_sensitive(), "{name}");
            assert!(!after.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
        }
    }
});
