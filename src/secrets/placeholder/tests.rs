use proptest::prelude::*;
use regex::Regex;

use super::*;

/// Headers of `name: value` pairs.
fn map(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
    };
    pairs.iter().map(pair).collect()
}

/// What is found in these headers, and in this query.
fn found(headers: &HeaderMap, query: Option<&str>) -> Result<Vec<(Part, String)>, PlaceholderError> {
    let all = find(&Parts { method: "GET", path: "/a", query, headers })?;
    Ok(all.into_iter().map(|found| (found.part.clone(), name(&found))).collect())
}

/// `id` or `id/key`.
fn name(found: &Found) -> String {
    found.wanted.key.as_ref().map_or(found.wanted.id.clone(), |key| format!("{}/{key}", found.wanted.id))
}

/// The only value of a header after this value was swapped in.
fn swapped(pair: (&str, &str), value: &[u8]) -> Result<String, PlaceholderError> {
    let mut headers = map(&[pair]);
    let any = swap_headers(&mut headers, &mut |_| Some(Revealed::new(value)))?;
    let field = headers.values().next().unwrap();
    assert_eq!(field.is_sensitive(), any);
    Ok(field.to_str().unwrap().to_owned())
}

/// The query after this value was swapped in.
fn queried(query: &str, value: &[u8]) -> Result<String, PlaceholderError> {
    let new = swap_query(query, &mut |_| Some(Revealed::new(value)))?;
    Ok(new.map_or_else(|| query.to_owned(), |new| new.to_string()))
}

/// Base64 of a text.
fn basic(text: &str) -> String {
    format!("Basic {}", STANDARD.encode(text))
}

#[test]
fn a_placeholder_is_swapped_anywhere_in_the_value_of_a_header() {
    for (value, name, after) in [
        ("sluicegate:github/token", "github/token", "V.1"),
        ("Bearer sluicegate:github", "github", "Bearer V.1"),
        ("a=1; t=sluicegate:a-b_c.d/E; c=2", "a-b_c.d/E", "a=1; t=V.1; c=2"),
        ("xsluicegate:a/ b", "a", "xV.1/ b"),
        ("sluicegate:a/b/c", "a/b", "V.1/c"),
        ("sluicegate:a:b", "a", "V.1:b"),
    ] {
        let expected = vec![(Part::Header(HeaderName::from_static("x-a")), name.to_owned())];
        assert_eq!(found(&map(&[("x-a", value)]), None), Ok(expected), "{value}");
        assert_eq!(swapped(("x-a", value), b"V.1").as_deref(), Ok(after), "{value}");
    }
    let plain = "sluicegat:a, sluicegate a, luicegate:x, 50%, Basic c2x1aWNlZ2F0ZTph";
    assert_eq!(found(&map(&[("x-a", plain), ("host", "sluicegate:3128")]), None), Ok(vec![]));
    assert_eq!(swapped(("x-a", plain), b"V").as_deref(), Ok(plain));
}

#[test]
fn basic_credentials_are_read_swapped_and_written_again() {
    for (plain, names, after) in [
        ("x-access-token:sluicegate:github/token", vec!["github/token"], "x-access-token:V.1"),
        ("sluicegate:github/token:", vec!["github/token"], "V.1:"),
        ("sluicegate:github/token:x-oauth-basic", vec!["github/token"], "V.1:x-oauth-basic"),
        ("sluicegate:a/user:sluicegate:a/pass", vec!["a/user", "a/pass"], "V.1:V.1"),
        ("sluicegate:github", vec!["github"], "V.1"),
    ] {
        for header in ["authorization", "proxy-authorization"] {
            let value = basic(plain);
            let part = Part::Basic(header.parse().unwrap());
            let expected = names.iter().map(|name| (part.clone(), (*name).to_owned())).collect();
            assert_eq!(found(&map(&[(header, &value)]), None), Ok(expected), "{plain}");
            assert_eq!(swapped((header, &value), b"V.1"), Ok(basic(after)), "{plain}");
        }
    }
    let unpadded = basic("u:sluicegate:a/b").trim_end_matches('=').replace("Basic ", "bAsIc   ");
    assert_eq!(swapped(("authorization", &unpadded), b"V.1"), Ok(basic("u:V.1").replace("Basic", "bAsIc")));
    for value in ["Basic", "Basic !!", "Basic dTpw", "Basicc2x1aWNlZ2F0ZTph", "Bearer c2x1aWNlZ2F0ZTph"] {
        assert_eq!(swapped(("authorization", value), b"V").as_deref(), Ok(value));
    }
}

#[test]
fn a_placeholder_in_the_query_is_swapped_however_it_is_escaped() {
    for query in [
        "a=1&t=sluicegate:github/token&b=%41+%zz",
        "a=1&t=sluicegate%3Agithub%2Ftoken&b=%41+%zz",
        "a=1&t=sluicegate%3agithub%2ftoken&b=%41+%zz",
        "a=1&t=%73luicegate:git%68ub/%74oken&b=%41+%zz",
    ] {
        let expected = vec![(Part::Query, "github/token".to_owned())];
        assert_eq!(found(&HeaderMap::new(), Some(query)), Ok(expected), "{query}");
        assert_eq!(queried(query, b"V.1").as_deref(), Ok("a=1&t=V.1&b=%41+%zz"), "{query}");
    }
    assert_eq!(
        queried("t=sluicegate:a", b"a&b=c#\r\n %\xff~").as_deref(),
        Ok("t=a%26b%3Dc%23%0D%0A%20%25%FF~")
    );
    assert_eq!(queried("t=sluicegate%253Aa", b"V").as_deref(), Ok("t=sluicegate%253Aa"));
}

#[test]
fn a_placeholder_that_would_go_on_unswapped_is_refused() {
    let none = HeaderMap::new();
    let parts = Parts { method: "GET", path: "/", query: None, headers: &none };
    for (parts, part) in [
        (Parts { path: "/bot-sluicegate:a/b", ..parts }, Part::Path),
        (Parts { path: "/sluicegate%3Aa", ..parts }, Part::Path),
        (Parts { path: "/Sluicegate:a", ..parts }, Part::Path),
        (Parts { method: "sluicegate%3Aa", ..parts }, Part::Method),
        (Parts { headers: &map(&[("sluicegate%3aa", "1")]), ..parts }, Part::HeaderName),
    ] {
        assert_eq!(find(&parts), Err(PlaceholderError::Misplaced(part)));
    }
    for trailers in [map(&[("x-a", "sluicegate:a")]), map(&[("sluicegate%3aa", "1")])] {
        assert_eq!(check_trailers(&trailers), Err(PlaceholderError::Misplaced(Part::Trailer)));
    }
    assert_eq!(check_trailers(&map(&[("x-sum", "1:2")])), Ok(()));
}

#[test]
fn what_only_looks_like_a_placeholder_is_refused() {
    for text in [
        "SluiceGate:a",
        "sluicegate:",
        "sluicegate:/b",
        "sluicegate: a",
        "sluicegate:sluicegate:a",
        "sluicegate:a/sluicegate:b",
    ] {
        let header = Part::Header(HeaderName::from_static("x-a"));
        assert_eq!(
            found(&map(&[("x-a", text)]), None),
            Err(PlaceholderError::Malformed(header.clone())),
            "{text}"
        );
        assert_eq!(swapped(("x-a", text), b"V"), Err(PlaceholderError::Malformed(header)), "{text}");
        let query = text.replace(' ', "%20");
        assert_eq!(queried(&query, b"V"), Err(PlaceholderError::Malformed(Part::Query)), "{text}");
        let name = HeaderName::from_static("authorization");
        let credentials = found(&map(&[("authorization", &basic(text))]), None);
        assert_eq!(credentials, Err(PlaceholderError::Malformed(Part::Basic(name))), "{text}");
    }
    for text in ["sluicegate%3Aa", "sluicegate:%61", "%73luicegate:a", "sluicegate:a%2Fb"] {
        let header = Part::Header(HeaderName::from_static("cookie"));
        assert_eq!(
            found(&map(&[("cookie", text)]), None),
            Err(PlaceholderError::Malformed(header)),
            "{text}"
        );
    }
    for query in ["t=%sluicegate:a", "t=%4sluicegate:a", "t=%b%73luicegate:a"] {
        assert_eq!(queried(query, b"AA"), Err(PlaceholderError::Malformed(Part::Query)), "{query}");
    }
    assert_eq!(queried("t=%25sluicegate:a", b"AA").as_deref(), Ok("t=%25AA"));
    let many = vec!["sluicegate:a"; MOST + 1].join("&");
    assert_eq!(found(&HeaderMap::new(), Some(&many)), Err(PlaceholderError::TooMany));
    assert_eq!(queried(&many, b"V"), Err(PlaceholderError::TooMany));
}

#[test]
fn a_value_that_would_change_more_than_its_place_is_refused_and_not_told() {
    let header = Part::Header(HeaderName::from_static("x-a"));
    for value in [&b"a\r\nx: y"[..], b"a\nb", b"a\0", b"a\x7f", b"sluicegate:b"] {
        let error = swapped(("x-a", "sluicegate:a"), value).unwrap_err();
        assert_eq!(error, PlaceholderError::Value(header.clone()), "{value:?}");
    }
    let part = Part::Basic(AUTHORIZATION);
    let refused = |plain: &str, value| swapped(("authorization", &basic(plain)), value).unwrap_err();
    assert_eq!(refused("sluicegate:a:pass", b"user:other"), PlaceholderError::Value(part.clone()));
    assert_eq!(refused("u:sluicegate:a", b"tab\there"), PlaceholderError::Value(part));
    assert_eq!(swapped(("authorization", &basic("u:sluicegate:a")), b"p:q"), Ok(basic("u:p:q")));
    assert_eq!(swapped(("authorization", &basic("sluicegate:a")), b"u:p"), Ok(basic("u:p")));
    assert_eq!(queried("t=sluicegate:a", b"sluicegate:b"), Err(PlaceholderError::Value(Part::Query)));
    // What was beside a placeholder makes another one with the value.
    assert!(swapped(("x-a", "sluicesluicegate:x:y"), b"gate").is_err());
    let mut headers = map(&[("x-a", "sluicegate:a")]);
    assert_eq!(swap_headers(&mut headers, &mut |_| None), Err(PlaceholderError::Unknown(header)));
    assert!(!PlaceholderError::Value(Part::Query).to_string().contains("hunter2"));
}

/// Pieces of a text, some of which are placeholders or almost.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "sluicegate:a",
        "sluicegate:b.c/d",
        "sluicegate:x/",
        "luicegate:",
        "sluicegate",
        "%3A",
        "%73luicegate%3Aq%2Fr",
        "&",
        "=",
        "+",
        " ",
        ":",
        "x",
        "%",
    ]);
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn after_the_swap_there_is_no_placeholder_and_the_rest_is_as_it_was(text in pieces(), value in "[A-Z&#% ]{0,6}") {
        let pattern = Regex::new("sluicegate:([A-Za-z0-9._-]+)(/[A-Za-z0-9._-]+)?").unwrap();
        let headers = map(&[("x-a", &text)]);
        let value_bytes = value.as_bytes();
        if let Ok(names) = found(&headers, None)
            && let Ok(after) = swapped(("x-a", &text), value_bytes)
        {
            prop_assert_eq!(pattern.find_iter(&text).count(), names.len());
            prop_assert_eq!(&after, &pattern.replace_all(&text, regex::NoExpand(&value)).into_owned());
            prop_assert!(!after.contains("sluicegate:"));
        }
        let query = text.replace(' ', "");
        if let Ok(after) = queried(&query, value_bytes) {
            let plain = |text: &str| String::from_utf8(Unescaped::new(text.as_bytes()).bytes().to_vec()).unwrap();
            prop_assert_eq!(plain(&after), pattern.replace_all(&plain(&query), regex::NoExpand(&value)).into_owned());
            prop_assert!(!plain(&after).contains("sluicegate:"));
            for delimiter in ['&', '=', '#', ' ', '+'] {
                prop_assert_eq!(after.matches(delimiter).count(), query.matches(delimiter).count());
            }
        }
    }

    #[test]
    fn what_has_no_placeholder_is_not_touched(value in "[ -~]{0,60}", query in "[!-~]{0,60}") {
        prop_assume!(!value.to_lowercase().contains("gate") && !query.to_lowercase().contains("gate"));
        for name in ["x-a", "authorization", "cookie"] {
            let mut headers = map(&[(name, value.trim())]);
            let before = headers.clone();
            prop_assert_eq!(swap_headers(&mut headers, &mut |_| Some(Revealed::new(b"V"))), Ok(false));
            prop_assert_eq!(headers, before);
        }
        prop_assert!(swap_query(&query, &mut |_| Some(Revealed::new(b"V"))).is_ok_and(|new| new.is_none()));
    }
}
