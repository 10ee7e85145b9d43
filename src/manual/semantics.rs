//! What a policy means.
//!
//! ```
//! use std::sync::Arc;
//! use sluicegate::addr::Target;
//! use sluicegate::policy::category::CategoryLists;
//! use sluicegate::policy::{Guards, PolicySet, Reason, RequestFacts, document};
//!
//! let text = "
//! mode: Limited
//! hostRules: [pypi.org, '*.github.com', {pattern: admin.github.com, action: Deny}]
//! rules: [{match: {host: mirror.test, path: /simple/*, methods: [GET]}, action: Allow}]
//! ";
//! let parsed = document::parse(&Arc::from("policy.yaml"), text);
//! assert!(!parsed.problems.iter().any(|problem| problem.is_error()));
//! let documents: Vec<_> = parsed.documents.into_iter().map(Arc::new).collect();
//! let (set, _) =
//!     PolicySet::compile(&documents, &CategoryLists::shipped(), Arc::new(Guards::default()), None, None);
//! let policy = set.policy_for("default", None, false);
//! let ask = |target: &str| policy.admit(&Target::parse(target).unwrap());
//!
//! // A: the name, in any spelling, before DNS.
//! assert!(ask("PyPI.org.:443").is_ok());
//! assert!(ask("a.b.github.com:443").is_ok());
//! assert_eq!(ask("admin.github.com:443").unwrap_err().reason(), Reason::HostDenied);
//! assert_eq!(ask("evilgithub.com:443").unwrap_err().reason(), Reason::DefaultDeny);
//! assert_eq!(ask("pypi.org:8443").unwrap_err().reason(), Reason::PortDenied);
//!
//! // A stays open where a rule asks for the path; C decides each request.
//! let mirror = ask("mirror.test:80").unwrap();
//! assert!(mirror.open().is_some());
//! let get = |path| policy.admit_request(&mirror, &RequestFacts { method: "GET", path, secure: false });
//! assert!(get("/simple/six/").is_ok());
//! assert_eq!(get("/admin").unwrap_err().reason(), Reason::DefaultDeny);
//!
//! // B: each address that DNS gave.
//! let pypi = ask("pypi.org:443").unwrap();
//! assert!(policy.admit_address(&pypi, [151, 101, 0, 223].into()).is_ok());
//! assert_eq!(policy.admit_address(&pypi, [10, 0, 0, 5].into()).unwrap_err().reason(), Reason::GuardPrivate);
//! ```
//!
//! # Names
//!
//! Text becomes a [`Name`](crate::addr::Name), [`Host`](crate::addr::Host) or [`Target`](crate::addr::Target) once.
//! What has two readings is refused: an address in another spelling than the canonical one, brackets round a name,
//! percent-encoding, a label that decodes to ASCII. All names of one request must agree: the CONNECT target, its `Host`,
//! the server name of the TLS inside, and the `Host` of each request inside. A target that is an address and carries a name is
//! asked for both.
//!
//! # The order
//!
//! Documents apply in the order Global, Group, Sandbox, and **every** one must allow. So a Deny above always wins, an Allow
//! below cannot reopen it, and adding a document can only narrow. Each document is asked the steps a to f of
//! [`policy::evaluate`](crate::policy::evaluate); a denial is reported for the highest scope that denies. No document at all,
//! documents that cannot be in force together, and a client that nobody knows are denials.
//!
//! A and C come before DNS: what they deny causes no query. B takes away the addresses that may not be reached; when none is
//! left, the reason is their common cause, or `dns_all_denied` when they differ. Each request of a kept-alive connection is
//! asked A and C again.
//!
//! A DNS query names no port: it is allowed when question A allows its name on some port, see
//! [`Policy::admit_query`](crate::policy::Policy::admit_query). What it is answered with opens nothing: B judges the address that is
//! dialled, and the gateway resolves the name again itself.
//!
//! # What is not known yet
//!
//! When a connection opens, path and method are not known. A rule that asks for them counts as open, unless every
//! completion comes to the same verdict; a `Rewrite` counts as open in any case, as its new place is judged with the request.
//! An open verdict lets a CONNECT come up, and then the tunnel must turn out to be HTTP that can be read: TLS that is not
//! decrypted is refused with `rule_denied`, anything else with `not_http`.
//!
//! # What is decrypted
//!
//! The strongest `trafficInspection` of all documents holds, also of those that only report. Without an authority to
//! decrypt with (`intercept`), a document that needs one does not load.
//!
//! | `trafficInspection` | TLS | what is no HTTP |
//! |---|---|---|
//! | `None` | never decrypted; `rules` with a path, methods, `Transform` or `Rewrite` do not load | passes |
//! | `Partial` | decrypted where an entry of `rules` names the host | passes |
//! | `Legacy` | decrypted | passes |
//! | `Full` | decrypted | `not_http` |
//!
//! # What is changed
//!
//! `Transform` and `Rewrite` allow, and change the request. Every document that allows by one changes it: first the
//! Sandbox's edits are made, then the Group's, then the Global ones. A request is rewritten once; two that would are
//! `policy_error`. The new place is a question of its own for every document above the one that rewrites; that one asks its own
//! hostRules Deny, cidrRules Deny and `rules` Deny; those below judged the old place. Then B is asked for it, under all of them.
//!
//! | a value | goes |
//! |---|---|
//! | of a `Secret` with `hosts` | to these hosts, over verified TLS |
//! | of a `Secret` without | to the one host of the rule, or of its Rewrite, over verified TLS |
//! | of a managed identity | the same |
//!
//! What counts is the host that the request ends at. Anywhere else the request is denied: `secret_host_mismatch`. A secret that
//! is not there, or not for this document's group, is `secret_unavailable`. A `Secret` with a group is seen by that group's
//! document and those of its sandboxes, before one of the same name without a group.
//!
//! # Inside a tunnel
//!
//! | the first bytes | are |
//! |---|---|
//! | a TLS `ClientHello` | judged by its server name, which must be the target's; without one only an address passes, see [`Policy::admit_nameless_tls`](crate::policy::Policy::admit_nameless_tls). A server may ask for another hello, which must have the same name |
//! | HTTP/1 in plain text | served request by request, each asked A and C |
//! | the HTTP/2 preface | refused |
//! | anything else, or nothing while the origin speaks first | carried as it is, unless the verdict hangs on a request |
//!
//! Nothing from the client leaves before that; bytes of the origin are passed on meanwhile. Of TLS, no second handshake
//! record leaves before the server has answered the first; alerts and early data do.
//!
//! # What was redirected
//!
//! | the first bytes | the target |
//! |---|---|
//! | a TLS `ClientHello` with a server name | that name on the original port, see [`Policy::admit_redirected_hello`](crate::policy::Policy::admit_redirected_hello) |
//! | one without | the original address |
//! | HTTP/1 in plain text | of each request: its `Host` on the original port |
//! | anything else, or nothing | the original address |
//!
//! The original address is never dialled under a name. When it is the gateway's own, or there is none, nothing is asked:
//! `guard_self`. When it is allowed as it is, and the client is silent, the connection goes on as after a CONNECT to it.
//!
//! # Paths
//!
//! A path is brought into its one form by [`wire::path`](crate::wire::path), matched in that form and forwarded in that
//! form. Without a `*`, a pattern that allows is exact and one that denies covers everything below it; a trailing `*` is any
//! rest; a `*` inside stays in its segment. The query is not part of it.
//!
//! # Guards
//!
//! Below all documents, judged by every form of an address, see [`Guards`](crate::policy::Guards):
//!
//! | guard | lifted by |
//! |---|---|
//! | `guard_self`: this host's addresses, the gateway's sockets, its name servers and parent proxies | nothing |
//! | `guard_metadata`, `guard_local` | the operator's `guards.exempt` |
//! | `guard_private`, `guard_port` | a `cidrRules` Allow in **every** document that is asked, or `guards.exempt`; they do not hold on the delegated path, nor where no document is asked |
//!
//! # Two paths
//!
//! A document in mode `VNet` delegates: what its sandboxes send leaves through the network that `vnet.network` names, with the
//! name servers of that network, but for the names that `managedPath` and the operator keep on the managed path. Each call
//! takes exactly one path, and there is none from one to the other. [`policy::route`](crate::policy::route) has the table.
//!
//! | | managed path | delegated path |
//! |---|---|---|
//! | takes it | names that every document in mode `VNet` lists; the operator's platform hosts | every other name, every IP literal |
//! | hard guards, `hostRules`, `rules`, `cidrRules` | hold | hold |
//! | `guard_private`, `guard_port` | hold | do not |
//! | `securityRules` | are not asked | the lowest `priority` that matches decides; when none does, `network_rule_denied` |
//!
//! An address that carries IPv4 inside (NAT64, 6to4 and the like) is denied by an explicit Deny of any form. An Allow of the
//! address itself lets it through where the IPv4 inside is allowed too, or where an Allow names a network within the prefix that
//! carries it, as `64:ff9b::/96`: `::/0` alone does not. A `vnet` in another mode is checked and kept: one word puts it in force.
//!
//! # Rules that are not asked
//!
//! `skipEgressProxy: true` takes a document and those above it out of every question, where each of these and the process
//! configuration says `Permitted`; else its sandboxes are denied everything. Documents below are asked as ever. Hard guards, the
//! path, `securityRules` and limits hold; names must agree, and messages be well formed; TLS is not decrypted, and no header or
//! secret of theirs is put in. What is allowed where a document was not asked is recorded with `decision: skip`.
//!
//! # A change
//!
//! Each document is a unit: [`live::store`](crate::live::store) says what becomes of it when its file changes. A new
//! snapshot wakes every open connection. What runs is asked the same questions in the same order, with the address it
//! uses, and is closed with `policy_change` when the answer is no. A request is decided by one snapshot.
