//! What is counted, and what never becomes a label.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use super::rules::RULES;
use super::*;
use crate::audit::{Audit, Event, FileSettings, Kind, Settings, SinkSettings, Text, Writer};
use crate::policy::Reason;

struct Bench {
    metrics: Arc<Metrics>,
    audit: Audit,
    writer: Writer,
    _directory: tempfile::TempDir,
}

fn bench() -> Bench {
    let metrics = Metrics::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let sinks = vec![SinkSettings::File(FileSettings::new(directory.path().join("audit.jsonl")))];
    let settings = Settings { sinks, ..Settings::default() };
    let (audit, writer) = Audit::start(settings, vec![Arc::clone(&metrics) as _]).unwrap();
    Bench { metrics, audit, writer, _directory: directory }
}

impl Bench {
    fn text(&self) -> String {
        self.metrics.encode(&self.audit.counts())
    }

    fn series(&self) -> BTreeSet<String> {
        let text = self.text();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
    }

    fn connection(&self, fill: impl FnOnce(&mut Event), outcome: Outcome) {
        let mut record = self.audit.record(Kind::Connection);
        fill(record.event());
        record.finish(outcome);
    }
}

fn deny(event: &mut Event) {
    event.decision = Some(Decision::Deny);
    event.reason = Some(Reason::DefaultDeny);
    event.ingress = Some(Ingress::Connect);
}

fn assert_has(text: &str, line: &str) {
    assert!(text.lines().any(|is| is == line), "{line} is not in\n{text}");
}

#[test]
fn a_denial_is_one_decision_and_one_connection() {
    let bench = bench();
    bench.connection(deny, Outcome::Refused);
    let text = bench.text();
    let decision = r#"decision="deny",ingress="connect",reason="default_deny""#;
    assert_has(&text, &format!("sluicegate_decisions_total{{{decision}}} 1"));
    assert_has(&text, r#"sluicegate_connections_total{ingress="connect",outcome="refused"} 1"#);
    assert_has(&text, "sluicegate_audit_events_total 1");
}

#[test]
fn a_tunnel_is_decided_when_it_opens_and_brings_its_bytes_when_it_ends() {
    let bench = bench();
    let mut record = bench.audit.record(Kind::Connection);
    let event = record.event();
    (event.decision, event.ingress) = (Some(Decision::Allow), Some(Ingress::Connect));
    (event.policy, event.rule) = (Some("p".into()), Some("hostRules[0]".into()));
    event.dns = Some(Duration::from_millis(3));
    event.connect = Some(Duration::from_millis(3));
    record.open();
    let active = bench.metrics.active(Ingress::Connect);
    let decision = r#"sluicegate_decisions_total{decision="allow",ingress="connect",reason="none"} 1"#;
    assert_has(&bench.text(), decision);
    assert_has(&bench.text(), r#"sluicegate_connections_active{ingress="connect"} 1"#);
    record.event().bytes_up = Some(5);
    record.event().bytes_down = Some(6);
    record.finish(Outcome::Ok);
    drop(active);
    let text = bench.text();
    for line in [
        decision,
        r#"sluicegate_connections_active{ingress="connect"} 0"#,
        r#"sluicegate_connections_total{ingress="connect",outcome="ok"} 1"#,
        r#"sluicegate_bytes_total{direction="up",route="managed"} 5"#,
        r#"sluicegate_bytes_total{direction="down",route="managed"} 6"#,
        r#"sluicegate_rule_hits_total{policy="p",rule="hostRules[0]"} 1"#,
        r#"sluicegate_dns_duration_seconds_count{network="managed"} 1"#,
        r#"sluicegate_connect_duration_seconds_count{network="managed"} 1"#,
    ] {
        assert_has(&text, line);
    }
}

#[test]
fn a_tunnel_that_is_denied_after_it_was_opened_is_a_second_decision_and_no_second_look_up() {
    let bench = bench();
    let mut record = bench.audit.record(Kind::Connection);
    let event = record.event();
    (event.decision, event.ingress) = (Some(Decision::Allow), Some(Ingress::Connect));
    event.dns = Some(Duration::from_millis(3));
    record.open();
    record.event().decision = Some(Decision::Deny);
    record.event().reason = Some(Reason::AuthorityMismatch);
    record.finish(Outcome::Refused);
    let text = bench.text();
    assert_has(&text, r#"sluicegate_decisions_total{decision="allow",ingress="connect",reason="none"} 1"#);
    let denied = r#"decision="deny",ingress="connect",reason="authority_mismatch""#;
    assert_has(&text, &format!("sluicegate_decisions_total{{{denied}}} 1"));
    assert_has(&text, r#"sluicegate_dns_duration_seconds_count{network="managed"} 1"#);
}

#[test]
fn a_request_is_counted_by_the_class_of_its_status() {
    let bench = bench();
    for status in [200, 204, 502] {
        let mut record = bench.audit.record(Kind::Request);
        record.event().status = Some(status);
        record.event().ingress = Some(Ingress::Http);
        record.finish(Outcome::Ok);
    }
    let text = bench.text();
    assert_has(&text, r#"sluicegate_requests_total{ingress="http",status_class="2xx"} 2"#);
    assert_has(&text, r#"sluicegate_requests_total{ingress="http",status_class="5xx"} 1"#);
    assert_has(&text, r#"sluicegate_request_duration_seconds_count{ingress="http"} 3"#);
}

#[test]
fn a_query_is_a_decision_and_neither_a_connection_nor_a_request() {
    let bench = bench();
    let mut record = bench.audit.record(Kind::Query);
    deny(record.event());
    record.event().ingress = Some(Ingress::Dns);
    record.finish(Outcome::Refused);
    let text = bench.text();
    let decision = r#"decision="deny",ingress="dns",reason="default_deny""#;
    assert_has(&text, &format!("sluicegate_decisions_total{{{decision}}} 1"));
    assert!(!text.contains("sluicegate_requests_total{") && !text.contains("sluicegate_connections_total{"));
}

#[test]
fn secrets_are_counted_by_what_became_of_them() {
    let bench = bench();
    let counted = |result: &str, count: u64| {
        let line = format!("sluicegate_secret_injections_total{{result=\"{result}\"}} {count}");
        assert_has(&bench.text(), &line);
    };
    for result in ["ok", "unavailable", "host_mismatch"] {
        counted(result, 0);
    }
    let end = |reason: Option<Reason>, secrets: &[&str]| {
        let mut record = bench.audit.record(Kind::Request);
        record.event().reason = reason;
        record.event().secrets = secrets.iter().copied().map(Arc::from).collect();
        record.finish(if reason.is_some() { Outcome::Refused } else { Outcome::Ok });
    };
    end(None, &[]);
    end(None, &["github/token", "npm/token"]);
    end(Some(Reason::SecretUnavailable), &[]);
    end(Some(Reason::SecretHostMismatch), &[]);
    end(Some(Reason::DefaultDeny), &[]);
    counted("ok", 2);
    counted("unavailable", 1);
    counted("host_mismatch", 1);
    assert!(!bench.text().contains("github"), "no secret is a label");
}

#[test]
fn m1_a_hundred_thousand_hosts_add_no_series() {
    let bench = bench();
    let hostile = |number: u64| {
        move |event: &mut Event| {
            let text = Text::new(&format!("{:x}.example", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            deny(event);
            event.host = Some(text.clone());
            event.sni = Some(text.clone());
            event.path = Some(text.clone());
            event.method = Some(text.clone());
            event.error = Some(text);
            event.sandbox = Some(format!("sbx-{number}").into());
            event.group = event.sandbox.clone();
        }
    };
    bench.connection(hostile(0), Outcome::Refused);
    let before = bench.series();
    for number in 1..=100_000 {
        bench.connection(hostile(number), Outcome::Refused);
    }
    assert_eq!(bench.series(), before);
    assert!(!before.iter().any(|series| series.contains("example") || series.contains("sbx")));
}

#[test]
fn m1_rules_beyond_the_cap_are_counted_together() {
    let bench = bench();
    for number in 0..RULES + 10 {
        let rule = |event: &mut Event| {
            event.policy = Some("p".into());
            event.rule = Some(format!("rules[{number}]").into());
        };
        bench.connection(rule, Outcome::Ok);
        bench.connection(rule, Outcome::Ok);
    }
    let text = bench.text();
    assert_has(&text, r#"sluicegate_rule_hits_total{policy="other",rule="other"} 20"#);
    assert_has(&text, r#"sluicegate_rule_hits_total{policy="p",rule="rules[0]"} 2"#);
    assert_eq!(text.lines().filter(|line| line.starts_with("sluicegate_rule_hits_total")).count(), RULES + 1);
}

#[test]
fn the_policy_dns_panics_and_the_audit_log_have_their_families() {
    let bench = bench();
    bench.metrics.policy_in_force(3, 12, 1);
    bench.metrics.policy_loaded(1_700_000_000);
    bench.metrics.reloaded(Reload::Applied);
    bench.metrics.dns_query("managed", DnsResult::NotFound);
    bench.metrics.dns_query("prod", DnsResult::Ok);
    bench.metrics.dns_answer(DnsAnswer::Limited);
    bench.metrics.decided_in(Duration::from_micros(2));
    bench.metrics.panicked();
    bench.connection(deny, Outcome::Refused);
    let Bench { metrics, audit, writer, _directory } = bench;
    writer.finish(Duration::from_secs(30)).unwrap();
    let text = metrics.encode(&audit.counts());
    for line in [
        "sluicegate_policy_generation 3",
        "sluicegate_policy_rules 12",
        "sluicegate_skip_egress_proxy_documents 1",
        "sluicegate_policy_last_success_timestamp_seconds 1700000000",
        r#"sluicegate_policy_reloads_total{result="applied"} 1"#,
        r#"sluicegate_policy_reloads_total{result="rejected"} 0"#,
        r#"sluicegate_dns_queries_total{network="managed",result="not_found"} 1"#,
        r#"sluicegate_dns_queries_total{network="prod",result="ok"} 1"#,
        r#"sluicegate_dns_answers_total{result="limited"} 1"#,
        "sluicegate_decision_duration_seconds_count 1",
        "sluicegate_panics_total 1",
        "sluicegate_audit_events_total 1",
        r#"sluicegate_audit_written_total{sink="file"} 1"#,
        r#"sluicegate_audit_dropped_total{sink="file"} 0"#,
        "sluicegate_audit_queue_events 0",
        concat!("sluicegate_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
    ] {
        assert_has(&text, line);
    }
}

#[test]
fn counters_never_go_backwards_between_scrapes() {
    let bench = bench();
    bench.connection(deny, Outcome::Refused);
    let old = bench.audit.counts();
    bench.connection(deny, Outcome::Refused);
    bench.text();
    assert_has(&bench.metrics.encode(&old), "sluicegate_audit_events_total 2");
}

#[test]
fn promtool_accepts_the_output() {
    let bench = bench();
    bench.connection(deny, Outcome::Refused);
    let mut request = bench.audit.record(Kind::Request);
    request.event().dns = Some(Duration::from_millis(1));
    request.event().connect = Some(Duration::from_millis(1));
    request.event().policy = Some("a \"quoted\" \\ name".into());
    request.event().rule = Some("line\nbreak".into());
    request.finish(Outcome::Ok);
    bench.metrics.dns_query("managed", DnsResult::Ok);
    drop(bench.metrics.active(Ingress::Http));
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = match promtool {
        Ok(promtool) => promtool,
        Err(error) => {
            let why = format!("skipped: promtool (Debian package prometheus) cannot be run: {error}");
            assert!(!required(), "{why}");
            eprintln!("{why}");
            return;
        }
    };
    promtool.stdin.take().unwrap().write_all(bench.text().as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty() && output.stdout.is_empty(), "{output:?}");
}

/// Whether a missing tool is a failure.
#[expect(clippy::disallowed_methods, reason = "a switch of the test run")]
fn required() -> bool {
    std::env::var_os("SLUICEGATE_REQUIRE_TOOLS").is_some()
}
