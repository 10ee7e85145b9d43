//! Whether all names of one call agree (`policy.md` §3): what a request names, beside what was judged before it.
//!
//! | what was judged | what is named | agrees when | asked by |
//! |---|---|---|---|
//! | the target of a CONNECT, or an absolute-form URI | its `Host` | it is that target | [`admit_named`] |
//! | the target of a tunnel | the URI of a request in it | it is that target | [`admit_named`] |
//! | the target of a tunnel | the `Host` of a request in it | the port is the same; another host is judged besides | [`admit_beside`] |
//! | what the TLS around was opened for | the URI or `Host` of a request in it | it is that host, on the same port | [`admit_inside`] |
//! | the address that a connection was going to | the URI or `Host` of a request | the port is the same, and a literal is that address | [`admit_name_at`] |
//!
//! What does not agree is `authority_mismatch`. The hellos of TLS are held against each other, and against what is around
//! them, in [`super::hello`].

use super::decision::Denial;
use super::reason::Reason;
use crate::addr::{Host, Target};

/// Whether a request for `target` names just that.
///
/// # Errors
/// `authority_mismatch`.
pub fn admit_named(target: &Target, named: &Target) -> Result<(), Denial> {
    if named == target { Ok(()) } else { Err(other(target, named)) }
}

/// Whether a request in a tunnel to `target` may name `named` beside it: the other host is still to be judged.
///
/// # Errors
/// `authority_mismatch`.
pub fn admit_beside(target: &Target, named: &Target) -> Result<(), Denial> {
    if named.port() == target.port() { Ok(()) } else { Err(other(target, named)) }
}

/// Whether a request inside TLS that was opened for `outer`, in a tunnel to `target`, names what was shown the certificate
/// (RFC 9110 §15.5.20).
///
/// # Errors
/// `authority_mismatch`.
pub fn admit_inside(outer: &Host, target: &Target, named: &Target) -> Result<(), Denial> {
    if named.host() == outer && named.port() == target.port() {
        return Ok(());
    }
    let detail = format!("the TLS was opened for {outer} but a request in it names {named}");
    Err(Denial::new(Reason::AuthorityMismatch, detail))
}

/// Whether a redirected request that was going to `address` may name `named`: on the same port, and a literal only when
/// it is that address.
///
/// # Errors
/// `authority_mismatch`.
pub fn admit_name_at(address: &Target, named: &Target) -> Result<(), Denial> {
    let other_address = named.host().ip().is_some() && named.host() != address.host();
    if named.port() == address.port() && !other_address {
        return Ok(());
    }
    let detail = format!("the connection was going to {address} but the request names {named}");
    Err(Denial::new(Reason::AuthorityMismatch, detail))
}

/// The denial of a request that names something else.
fn other(target: &Target, named: &Target) -> Denial {
    Denial::new(Reason::AuthorityMismatch, format!("the request is for {target} but names {named}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        text.parse().unwrap()
    }

    /// What each row of the table says of `named`: [`admit_named`], [`admit_beside`], [`admit_inside`], [`admit_name_at`].
    fn said(judged: &str, named: &str) -> [bool; 4] {
        let (judged, named) = (target(judged), target(named));
        let answers = [
            admit_named(&judged, &named),
            admit_beside(&judged, &named),
            admit_inside(judged.host(), &judged, &named),
            admit_name_at(&judged, &named),
        ];
        answers.map(|answer| match answer {
            Ok(()) => true,
            Err(denial) => {
                assert_eq!(denial.reason(), Reason::AuthorityMismatch);
                assert!(denial.message("").contains(&named.to_string()), "{denial:?}");
                false
            }
        })
    }

    #[test]
    fn i3_what_a_request_names_is_held_against_what_was_judged() {
        for (judged, named, expected) in [
            ("a.test:443", "A.test.:443", [true, true, true, true]),
            ("a.test:443", "a.test:80", [false; 4]),
            ("a.test:443", "b.test:443", [false, true, false, true]),
            ("a.test:443", "b.test:80", [false; 4]),
            ("a.test:443", "8.8.8.8:443", [false, true, false, false]),
            ("8.8.8.8:443", "8.8.8.8:443", [true, true, true, true]),
            ("8.8.8.8:443", "8.8.4.4:443", [false, true, false, false]),
            ("8.8.8.8:443", "[::ffff:8.8.8.8]:443", [false, true, false, false]),
            ("8.8.8.8:443", "a.test:443", [false, true, false, true]),
            ("8.8.8.8:443", "a.test:80", [false; 4]),
        ] {
            assert_eq!(said(judged, named), expected, "{judged} {named}");
        }
    }

    #[test]
    fn inside_tls_the_name_it_was_opened_for_is_what_counts_and_not_the_address_of_the_tunnel() {
        let outer = Host::parse("a.test").unwrap();
        for (named, agrees) in [("a.test:443", true), ("8.8.8.8:443", false), ("a.test:80", false)] {
            let said = admit_inside(&outer, &target("8.8.8.8:443"), &target(named));
            assert_eq!(said.is_ok(), agrees, "{named}");
        }
    }
}
