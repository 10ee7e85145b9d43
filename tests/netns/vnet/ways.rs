//! Every way in takes the path of its name: absolute-form HTTP, redirected TLS and HTTP, captured DNS, and requests that
//! are read inside TLS.

use hickory_proto::rr::rdata::{HTTPS, SVCB};
use hickory_proto::rr::{Name, RData};
use serde_json::Value;

use crate::kit::dns::Answer;
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, Origin};
use crate::kit::tool;
use crate::topology::{FOREIGN, ORIGIN, ORIGIN6};
use crate::vnet::ask::{PROXY, assert_path};
use crate::vnet::counters::Link;
use crate::vnet::topology::{NETWORKS, PRIVATE6, TwoUplinks, config, managed};

/// The names of each path; those below them take the same.
const NAMES: [(&str, Link); 2] = [("left.test", Link::Managed), ("right.test", Link::Delegated)];
/// The names of the first are put on the managed path.
const PATH: &str = "additionalHosts: [left.test, '*.left.test']";
/// Where the origins inside TLS are, on both paths.
const SECURE: &str = "93.184.216.35";

/// A running gateway, where all these names lead to the usual origins on either path.
async fn net(label: &str) -> Option<TwoUplinks> {
    let net = TwoUplinks::start(label, &managed(PATH), NETWORKS).await?;
    for (name, _) in NAMES {
        net.both_say(name);
        net.both_say(&format!("plain.{name}"));
        net.both_say(&format!("asked.{name}"));
    }
    Some(net)
}

/// Waits for the record of a finished call for this host that came in this way; it must name the link.
async fn came(net: &TwoUplinks, ingress: &str, host: &str, link: Link) -> Value {
    let is_it = |one: &Value| one["ingress"] == ingress && one["host"] == host && one["kind"] != "open";
    let records = net.records(&format!("{ingress} of {host}"), |all| all.iter().any(is_it)).await;
    let record = records.into_iter().find(is_it).expect("it was just seen");
    assert_path(&record, link);
    record
}

#[tokio::test]
async fn p7_requests_by_proxy_and_by_redirection_take_the_path_of_their_name_and_no_other() {
    let Some(net) = net("ways").await else { return };
    if tool::find("curl").is_none() {
        return;
    }
    let _origins = net.origins();
    let proxy = format!("http://{PROXY}");
    for (name, link) in NAMES {
        let url = format!("http://{name}/");
        let absolute =
            net.only_by(link, async || net.run(1, "curl", ["-sS", "-m", "20", "-x", &proxy, &url]).await);
        let absolute = absolute.await;
        assert_eq!(absolute.stdout, link.says(), "{}", absolute.stderr);
        came(&net, "http", name, link).await;
        // Another name, so that this one is resolved for the first time.
        let plain = format!("plain.{name}");
        let (resolve, url) = (format!("{plain}:80:{FOREIGN}"), format!("http://{plain}/"));
        let redirected = async || net.run(1, "curl", ["-sS", "-m", "20", "--resolve", &resolve, &url]).await;
        let redirected = net.only_by(link, redirected).await;
        assert_eq!(redirected.stdout, link.says(), "{}", redirected.stderr);
        came(&net, "transparent_http", &plain, link).await;
        let asked = format!("asked.{name}");
        let tls = net.only_by(link, async || net.redirected(&asked, link).await).await;
        let record = net.end(tls, link).await;
        assert_eq!(record["ingress"], "transparent_tls");
    }
}

#[tokio::test]
async fn d5_captured_questions_are_answered_by_the_name_server_of_their_path_alone() {
    let Some(net) = net("capture").await else { return };
    if tool::find("dig").is_none() {
        return;
    }
    for (name, link) in NAMES {
        let name = format!("horizon.{name}");
        net.private_dns.says(&name, Answer::addresses(["10.30.0.10", PRIVATE6]));
        net.dns.says(&name, Answer::addresses([ORIGIN, ORIGIN6]));
        let right = if link == Link::Managed { [ORIGIN, ORIGIN6] } else { ["10.30.0.10", PRIVATE6] };
        for way in ["+notcp", "+tcp"] {
            for (kind, right) in ["A", "AAAA"].into_iter().zip(right) {
                let ask =
                    async || net.run(1, "dig", ["@198.51.100.53", way, "+short", kind, &name]).await.stdout;
                let said = net.not_by(link.other(), ask).await;
                assert_eq!(said.trim(), right, "{name} {way} {kind}");
            }
        }
        let asked = (net.dns.queries(&name), net.private_dns.queries(&name));
        let (mine, others) = if link == Link::Managed { asked } else { (asked.1, asked.0) };
        assert!(mine > 0 && others == 0, "{name}: {asked:?}");
        // Records that are no addresses come from there too.
        let service = format!("service.{name}");
        for (server, priority) in [(&net.dns, 1), (&net.private_dns, 2)] {
            let record = HTTPS(SVCB::new(priority, Name::root(), Vec::new()));
            server.says(&service, Answer::Records(vec![RData::HTTPS(record)]));
        }
        let ask = async || net.run(1, "dig", ["@198.51.100.53", "TYPE65", &service]).await.stdout;
        let said = net.only_by(link, ask).await;
        assert!(said.contains("status: NOERROR") && said.contains("ANSWER: 1,"), "{said}");
        let asked = [&net.dns, &net.private_dns].map(|server| server.queries(&service) > 0);
        assert_eq!(asked, [link == Link::Managed, link == Link::Delegated], "{service}");
        // What its own server does not know, the other is not asked for.
        let unknown = format!("unknown.{name}");
        net.both_say(&unknown);
        let server = if link == Link::Managed { &net.dns } else { &net.private_dns };
        server.says(&unknown, Answer::NxDomain);
        let ask = async || net.run(1, "dig", ["@198.51.100.53", &unknown]).await.stdout;
        let said = net.only_by(link, ask).await;
        assert!(said.contains("NXDOMAIN"), "{said}");
    }
}

#[tokio::test]
async fn p7_requests_inside_tls_take_the_path_of_their_name_and_no_other() {
    let Some(mut net) = TwoUplinks::new("inside") else { return };
    if tool::find("curl").is_none() {
        return;
    }
    let (place, reply) = (format!("{SECURE}:443"), |says| vec![Reply::ok(says).then_close()]);
    let secure = |namespace: &crate::namespace::Namespace, name: &str, says| {
        namespace
            .inside(|| Origin::tls_on(place.parse().expect("an address"), name, Behaviour::Http(reply(says))))
    };
    let origins =
        [secure(&net.internet, "left.test", "managed"), secure(&net.vnet, "right.test", "delegated")];
    let policy = format!(
        "{}rules:\n  - {{match: {{host: left.test, path: /in}}, action: Allow}}\n  - {{match: {{host: right.test, path: /in}}, action: Allow}}\n",
        managed(PATH)
    );
    let config = net.intercepting(&config(NETWORKS), &[&origins[0], &origins[1]]);
    // The address of the internet's origin is one of the usual.
    net.gateway(&policy, &config).await;
    net.load_rules().await;
    let ca = net.place.text("ca/ca.pem");
    for (name, link) in NAMES {
        net.dns.says(name, Answer::addresses([SECURE]));
        net.private_dns.says(name, Answer::addresses([SECURE]));
        let (url, resolve) = (format!("https://{name}/in"), format!("{name}:443:{FOREIGN}"));
        let proxy = format!("http://{PROXY}");
        let by_proxy =
            async || net.run(1, "curl", ["-sS", "-m", "20", "--cacert", &ca, "-x", &proxy, &url]).await;
        let ran = net.only_by(link, by_proxy).await;
        assert_eq!(ran.stdout, link.says(), "{}", ran.stderr);
        let by_itself = async || {
            net.run(1, "curl", ["-sS", "-m", "20", "--cacert", &ca, "--resolve", &resolve, &url]).await
        };
        let ran = net.only_by(link, by_itself).await;
        assert_eq!(ran.stdout, link.says(), "{}", ran.stderr);
        came(&net, "inspected", name, link).await;
    }
}
