//! Tests of host patterns: each row of `policy.md` §4, and properties.
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;
use crate::addr::TargetError;

/// The pattern of a text.
fn pattern(text: &str) -> Pattern {
    text.parse().unwrap()
}

/// Whether a pattern matches a host on port 443, or on the port it is given with.
fn matches(text: &str, target: &str) -> bool {
    let target = crate::addr::Target::parse_or(target, Port::HTTPS).unwrap();
    pattern(text).matches(target.host(), target.port())
}

#[test]
fn n5_each_row_of_the_pattern_table_holds() {
    for (text, yes, no) in [
        (
            "example.com",
            &["example.com", "EXAMPLE.com.", "example.com:80"][..],
            &["a.example.com", "example.org"][..],
        ),
        (
            "*.example.com",
            &["a.example.com", "a.b.example.com"],
            &["example.com", "evilexample.com", "example.com.evil.com", "a.example.com.evil.com"],
        ),
        (
            "reg.*.data.azurecr.io",
            &["reg.eastus.data.azurecr.io"],
            &["reg.a.b.data.azurecr.io", "reg.data.azurecr.io", "x.reg.a.data.azurecr.io"],
        ),
        (
            "api-*.example.com",
            &["api-1.example.com", "API-long-2.Example.com"],
            &["api-.x.example.com", "api-1.a.example.com", "api-.example.com", "x.api-1.example.com"],
        ),
        ("*.foo.*.com", &["a.foo.x.com", "a.b.foo.x.com"], &["foo.x.com", "a.foo.x.y.com", "a.foo.com"]),
        ("*.api-*.com", &["x.api-1.com", "y.x.api-1.com"], &["api-1.com", "x.api-.com"]),
        ("a.*.*.b", &["a.1.2.b"], &["a.1.b", "a.1.2.3.b"]),
        ("*", &["example.com", "localhost"], &["192.0.2.7", "[2001:db8::1]"]),
        ("192.0.2.7", &["192.0.2.7", "192.0.2.7:80"], &["192.0.2.8", "[::ffff:192.0.2.7]", "example.com"]),
        ("[2001:DB8::1]", &["[2001:db8:0::1]"], &["[2001:db8::2]"]),
        ("db.corp:5432", &["db.corp:5432"], &["db.corp:443", "db.corp:80"]),
        ("[2001:db8::1]:8443", &["[2001:db8::1]:8443"], &["[2001:db8::1]"]),
        ("*.corp:8443", &["a.corp:8443"], &["a.corp"]),
        ("bücher.example", &["xn--bcher-kva.example"], &["bucher.example"]),
        ("*.bücher.example", &["a.xn--bcher-kva.example"], &[]),
        ("a.*.BÜCHER.example", &["a.b.bücher.example"], &[]),
    ] {
        for host in yes {
            assert!(matches(text, host), "{text} should match {host}");
        }
        for host in no {
            assert!(!matches(text, host), "{text} should not match {host}");
        }
    }
}

#[test]
fn patterns_are_sorted_into_kinds_and_shown_canonically() {
    for (text, shown) in [
        ("*", "*"),
        ("*.", "*"),
        ("Example.COM.", "example.com"),
        ("*.Example.COM.", "*.example.com"),
        ("API-*.example.com", "api-*.example.com"),
        ("a.*.BÜCHER.example:443", "a.*.xn--bcher-kva.example:443"),
        ("[2001:DB8:0::1]:443", "[2001:db8::1]:443"),
    ] {
        assert_eq!(pattern(text).to_string(), shown);
    }
    assert!(matches!(pattern("*").kind(), PatternKind::Any));
    assert!(matches!(pattern("a.example").kind(), PatternKind::Exact(_)));
    assert!(matches!(pattern("*.a.example").kind(), PatternKind::Suffix(_)));
    assert!(matches!(pattern("a.*.example").kind(), PatternKind::Inner(_)));
    assert!(matches!(pattern("192.0.2.7").kind(), PatternKind::Ip(_)));
    assert_eq!(pattern("*:8080").port(), Port::new(8080));
    let PatternKind::Inner(labels) = pattern("*.foo.*.com").kind().clone() else { unreachable!() };
    assert_eq!(labels.first(), Some(&LabelPattern::Many));
    assert_eq!(labels.get(2), Some(&LabelPattern::One));
}

#[test]
fn n5_what_is_not_a_pattern_is_refused_with_a_hint() {
    for (text, error, hint) in [
        ("", PatternError::Empty, "example.com"),
        ("**", PatternError::DoubleStar, "leading `*.`"),
        ("**.example.com", PatternError::DoubleStar, "leading `*.`"),
        ("a.**.example.com", PatternError::DoubleStar, "exactly one"),
        ("*.*", PatternError::StarDotStar, "every name"),
        ("*.*.example.com", PatternError::StarDotStar, "one leading"),
        ("https://example.com/x", PatternError::Scheme("example.com".into()), "`example.com`"),
        ("https://u:p@example.com", PatternError::Scheme("example.com".into()), "`example.com`"),
        ("http://x", PatternError::Scheme("x".into()), "write `x`"),
        ("//x", PatternError::Scheme("x".into()), "write `x`"),
        (
            "HTTPS://API.Example.com:8443?q",
            PatternError::Scheme("api.example.com:8443".into()),
            "`api.example.com:8443`",
        ),
        ("https://[2001:DB8::1]/", PatternError::Scheme("[2001:db8::1]".into()), "`[2001:db8::1]`"),
        ("https://*.example.com/x", PatternError::Scheme("*.example.com".into()), "`*.example.com`"),
        ("https://**.example.com/x", PatternError::Scheme(String::new()), "write the host only"),
        ("file:///etc", PatternError::Scheme(String::new()), "write the host only"),
        ("http:/x.com", PatternError::Path(String::new()), "write the host only"),
        ("/x", PatternError::Path(String::new()), "write the host only"),
        ("example.com/x", PatternError::Path("example.com".into()), "match.path"),
        ("example.com:443/", PatternError::Path("example.com:443".into()), "`example.com:443`"),
        ("u:p@example.com/x", PatternError::Path("example.com".into()), "`example.com`"),
        ("example.com/?to=http://other.example", PatternError::Path("example.com".into()), "`example.com`"),
        ("192.0.2.7/", PatternError::Path("192.0.2.7".into()), "`192.0.2.7`"),
        ("example.com?x", PatternError::Path("example.com".into()), "`example.com`"),
        ("user@example.com", PatternError::Userinfo, "`@`"),
        ("10.0.0.0/8", PatternError::Cidr, "cidrRules"),
        ("10/8", PatternError::Cidr, "cidrRules"),
        ("2001:db8::/32", PatternError::Cidr, "cidrRules"),
        ("10.0.0.*", PatternError::StarInAddress, "cidrRules"),
        ("10.*", PatternError::StarInAddress, "cidrRules"),
        ("*.0.0.1", PatternError::StarInAddress, "cidrRules"),
        ("[2001:db8::*]", PatternError::StarInAddress, "cidrRules"),
        (".example.com", PatternError::LeadingDot("example.com".into()), "`*.example.com`"),
        ("a..example.com", HostError::EmptyLabel.into(), "one dot"),
        ("*..example.com", HostError::EmptyLabel.into(), "one dot"),
        ("a.*..com", HostError::EmptyLabel.into(), "one dot"),
        ("::1", HostError::Unbracketed.into(), "[2001:db8::1]"),
        ("a:b:443", PatternError::SecondColon, "host:port"),
        ("example.com:0", PatternError::Port(TargetError::PortRange), "host:port"),
        ("example.com:*", PatternError::Port(TargetError::Port), "host:port"),
        ("bü*.example", PatternError::StarInIdna, "xn--"),
        ("a。b.*.example", PatternError::Dot, "`.`"),
    ] {
        let found = text.parse::<Pattern>().unwrap_err();
        assert_eq!(found, error, "{text}");
        assert!(found.hint().unwrap().contains(hint), "{text}: {:?}", found.hint());
    }
}

#[test]
fn n3_a_literal_part_that_is_no_name_is_refused() {
    for (text, error) in [
        ("exa mple.com", HostError::Character(' ')),
        ("a%2eb.example", HostError::Percent),
        ("*.a%2eb.example", HostError::Percent),
        ("a\0.*.example", HostError::Character('\0')),
        ("a\0*.example", HostError::Character('\0')),
        ("*.foo.123", HostError::NumericEnd),
        ("foo.*.123", HostError::NumericEnd),
        ("-*.example", HostError::LeadingHyphen),
        ("127.1", HostError::Ipv4Spelling),
        ("[example.com]", HostError::Brackets),
        ("*.xn--a-.example", HostError::Idna),
        ("a.*.xn--a-.example", HostError::Idna),
    ] {
        assert_eq!(text.parse::<Pattern>(), Err(error.into()), "{text}");
    }
    let long = "a".repeat(64);
    assert_eq!(format!("*.{long}.com").parse::<Pattern>(), Err(HostError::LabelTooLong.into()));
    assert_eq!(format!("{long}*.com").parse::<Pattern>(), Err(HostError::LabelTooLong.into()));
    let label = "a".repeat(63);
    let four = format!("{label}.*.{label}.{label}.{label}");
    assert_eq!(four.parse::<Pattern>(), Err(HostError::TooLong.into()));
}

#[test]
fn tenant_wide_wildcards_are_known() {
    for text in [
        "*",
        "*.com",
        "*.co.uk",
        "*.com.au",
        "*.blob.core.windows.net",
        "*.azurecr.io",
        "*.s3.amazonaws.com",
        "*.s3.eu-west-1.amazonaws.com",
        "*.pages.dev",
        "data-*.azurewebsites.net",
        "x.*.com",
        "api-*.io",
        "a.*",
        "*.eastus.data.azurecr.io",
    ] {
        assert!(pattern(text).is_tenant_wide(), "{text}");
    }
    for text in [
        "com",
        "acct.blob.core.windows.net",
        "*.acct.blob.core.windows.net",
        "*.github.com",
        "*.example.co.uk",
        "reg.*.data.azurecr.io",
        "*.corp.io",
        "192.0.2.7",
        "api-*.example.com",
    ] {
        assert!(!pattern(text).is_tenant_wide(), "{text}");
    }
}

/// The plain meaning of a host pattern by trying every way to share out the labels.
fn naive(own: &[&str], labels: &[&str], first: bool) -> bool {
    match (own.split_first(), labels.split_first()) {
        (None, None) => true,
        (None, Some(_)) | (Some(_), None) => false,
        (Some((&"*", rest)), Some((_, after))) => {
            naive(rest, after, false) || (first && naive(own, after, first))
        }
        (Some((label, rest)), Some((text, after))) => {
            let fits = Wildcard::new(label).map_or(label == text, |part| part.matches(text));
            fits && naive(rest, after, false)
        }
    }
}

proptest! {
    #[test]
    fn n4_the_display_of_a_pattern_is_the_same_pattern(text in "[a-zA-Z0-9*.:ü\\[\\]_-]{0,24}|\\PC{0,12}") {
        if let Ok(pattern) = text.parse::<Pattern>() {
            prop_assert_eq!(pattern.to_string().parse::<Pattern>(), Ok(pattern));
        }
    }

    #[test]
    fn n5_labels_are_matched_as_the_naive_reading_says(
        own in prop::collection::vec("a|b|\\*|a\\*|\\*b", 1..5),
        labels in prop::collection::vec("a|b|ab|aab", 1..6),
    ) {
        let (text, name) = (format!("{}.x", own.join(".")), format!("{}.x", labels.join(".")));
        if let Ok(pattern) = text.parse::<Pattern>() {
            let own: Vec<&str> = text.split('.').collect();
            let labels: Vec<&str> = name.split('.').collect();
            let host = Host::parse(&name).unwrap();
            prop_assert_eq!(pattern.matches(&host, Port::HTTP), naive(&own, &labels, true), "{} {}", text, name);
        }
    }
}
