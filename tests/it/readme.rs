//! The tours of the README, run as they stand.
//!
//! Each `sh` block of the section is run, all in one shell, in an empty directory, with `sluicegate` on the
//! path. The `text` block that follows one is what it must print. Values that differ from run to run are
//! masked on both sides; ports and names of namespaces are replaced by ones that nobody else has.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::Path;

use serde_json::Value;
use sluicegate::policy::Reason;

use crate::kit::tool;

/// The headings of the sections.
const TOUR: &str = "## A tour in five minutes\n";
const INSIDE: &str = "## Inside TLS\n";
const NETWORKS: &str = "## Two networks\n";
const CAPTURE: &str = "## Taking everything a sandbox sends\n";
/// JSON keys and headers whose values differ from run to run.
const VARYING: [&str; 15] = [
    "\"seq\":",
    "\"time\":",
    "\"before\":",
    "\"after\":",
    "\"id\":",
    "\"requestId\":",
    "\"client\":",
    "\"bytes_down\":",
    "\"connect_ms\":",
    "\"dns_ms\":",
    "\"tls_ms\":",
    "\"ttfb_ms\":",
    "\"duration_ms\":",
    "x-request-id:",
    "date:",
];
/// The ports of the tour: proxy, admin server, origin.
const PORTS: [&str; 3] = ["3128", "9901", "8000"];
/// The ports of the tour inside TLS: proxy, admin server, origin, name server.
const PORTS_INSIDE: [&str; 4] = ["3128", "9901", "8443", "5300"];
/// The ports of the tour of two networks: proxy, admin server, origins, name servers.
const PORTS_NETWORKS: [&str; 4] = ["3128", "9901", "8000", "5300"];
/// What the shell prints between the outputs of two steps.
const MARK: &str = "=====next step=====";
/// How long the whole tour may take.
const SECONDS: &str = "50";

/// A block to run, and what it prints.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    commands: String,
    output: String,
}

/// The steps of a tour in a text: of its section, before any smaller heading.
fn steps(readme: &str, heading: &str) -> Vec<Step> {
    let section = readme.split_once(heading).expect("the README has a tour").1;
    let section = section.split("\n##").next().expect("there is a first part");
    let mut steps: Vec<Step> = Vec::new();
    for block in section.split("\n```").skip(1).step_by(2) {
        let (language, text) = block.split_once('\n').unwrap_or_default();
        match language {
            "sh" => steps.push(Step { commands: text.to_owned(), output: String::new() }),
            "text" => text.clone_into(&mut steps.last_mut().expect("output follows commands").output),
            other => panic!("a block of the tour is `{other}`"),
        }
    }
    steps
}

/// A text without what differs from run to run.
fn masked(text: &str) -> String {
    let mut text = text.replace('\r', "").trim().to_owned();
    for key in VARYING {
        let mut parts = text.split(key);
        let mut kept = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = part.find([',', '}', '\n']).unwrap_or(part.len());
            kept.extend([key, " … ", &part[end..]]);
        }
        text = kept;
    }
    text
}

/// Ports that are free on loopback, in the place of those of a tour.
fn free_ports<const N: usize>(ports: [&str; N]) -> [String; N] {
    let sockets = ports.map(|_| TcpListener::bind(("127.0.0.1", 0)).expect("a free port"));
    sockets.map(|socket| socket.local_addr().expect("it is bound").port().to_string())
}

/// The README.
fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// Takes the steps, after `before`, and compares what they print; each pair stands for the other outside of here. Whatever
/// happens, `at_the_end` is run.
async fn follow(steps: &[Step], before: &str, at_the_end: &str, pairs: &[(&str, &str)]) {
    let tools: Vec<_> = ["bash", "curl", "python3", "timeout"].into_iter().map_while(tool::find).collect();
    let [bash, _, _, timeout] = tools.as_slice() else { return };
    let binary = Path::new(env!("CARGO_BIN_EXE_sluicegate")).parent().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (place, binaries) = (directory.path().display(), binary.display());
    let mut script = format!(
        "exec 2>&1\ntrap '{at_the_end}' EXIT\nexport TMPDIR='{place}'\nPATH='{binaries}':$PATH\ncd '{place}'\n{before}\n"
    );
    for step in steps {
        script.extend([&step.commands, "\necho '", MARK, "'\n"]);
    }
    for (written, here) in pairs {
        script = script.replace(written, here);
    }
    let file = directory.path().join("tour.sh");
    fs::write(&file, script).unwrap();
    let arguments = [SECONDS.as_ref(), bash.as_os_str(), file.as_os_str()];
    let mut printed = tool::run(timeout, arguments).await.stdout;
    for (written, here) in pairs {
        printed = printed.replace(here, written);
    }
    let mut outputs = printed.split(MARK);
    for Step { commands, output } in steps {
        let printed = outputs.next().expect("every step was reached");
        assert_eq!(masked(printed), masked(output), "{commands}\nprinted in full:\n{printed}");
    }
}

#[tokio::test]
async fn the_tour_of_the_readme_prints_what_the_readme_shows() {
    let steps = steps(&readme(), TOUR);
    assert!(steps.len() > 8, "the tour is where it is looked for");
    let ports = free_ports(PORTS);
    let pairs: Vec<_> = PORTS.into_iter().zip(ports.iter().map(String::as_str)).collect();
    follow(&steps, "", "kill $(jobs -p) 2>/dev/null", &pairs).await;
}

#[tokio::test]
async fn the_tour_inside_tls_prints_what_the_readme_shows() {
    if tool::find("openssl").is_none() {
        return;
    }
    let steps = steps(&readme(), INSIDE);
    assert!(steps.len() > 6, "the tour is where it is looked for");
    let ports = free_ports(PORTS_INSIDE);
    let pairs: Vec<_> = PORTS_INSIDE.into_iter().zip(ports.iter().map(String::as_str)).collect();
    follow(&steps, "", "kill $(jobs -p) 2>/dev/null", &pairs).await;
}

#[tokio::test]
async fn the_tour_of_two_networks_prints_what_the_readme_shows() {
    let steps = steps(&readme(), NETWORKS);
    assert!(steps.len() > 5, "the tour is where it is looked for");
    let ports = free_ports(PORTS_NETWORKS);
    let pairs: Vec<_> = PORTS_NETWORKS.into_iter().zip(ports.iter().map(String::as_str)).collect();
    follow(&steps, "", "kill $(jobs -p) 2>/dev/null", &pairs).await;
}

#[tokio::test]
async fn the_tour_of_a_sandbox_that_knows_no_proxy_prints_what_the_readme_shows() {
    if ["ip", "nft"].into_iter().any(|name| tool::find(name).is_none()) {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return tool::missing::<()>("root, for network namespaces,").unwrap_or_default();
    }
    let steps = steps(&readme(), CAPTURE);
    assert!(steps.len() > 3, "the tour is where it is looked for");
    let name = format!("sgt{}", std::process::id());
    let before = format!("export TOUR={name}; ln -s '{}/deploy' deploy", env!("CARGO_MANIFEST_DIR"));
    let pairs = [("sg-", &*format!("{name}-"))];
    let down = format!("{}/deploy/nftables/tour.sh down", env!("CARGO_MANIFEST_DIR"));
    follow(&steps, &before, &down, &pairs).await;
}

/// Every property name of a JSON Schema, its definitions included.
fn properties(schema: &Value, found: &mut BTreeSet<String>) {
    if let Some(named) = schema.get("properties").and_then(Value::as_object) {
        found.extend(named.keys().cloned());
    }
    match schema {
        Value::Object(inside) => inside.values().for_each(|value| properties(value, found)),
        Value::Array(inside) => inside.iter().for_each(|value| properties(value, found)),
        _ => {}
    }
}

/// Whether a text of the source is the name of a family of metrics.
fn is_family(text: &str) -> bool {
    let endings = [
        "_total",
        "_seconds",
        "_active",
        "_events",
        "_info",
        "_ok",
        "_up",
        "_generation",
        "_rules",
        "_documents",
    ];
    let plain = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    plain && endings.iter().any(|ending| text.ends_with(ending))
}

#[test]
fn the_reference_of_the_readme_leaves_nothing_out() {
    let readme = readme();
    // Words inside backticks, taken apart where several stand in one.
    let code: BTreeSet<&str> = readme
        .split('`')
        .skip(1)
        .step_by(2)
        .flat_map(|code| code.split(|c: char| !(c.is_alphanumeric() || "_-".contains(c))))
        .collect();
    let missing = |names: &mut dyn Iterator<Item = String>| -> Vec<String> {
        names.filter(|name| !code.contains(name.as_str())).collect()
    };

    let mut keys = BTreeSet::new();
    properties(&sluicegate::schema::config(), &mut keys);
    properties(&sluicegate::audit::schema(), &mut keys);
    assert!(keys.len() > 60, "the schemas have their properties");
    assert_eq!(missing(&mut keys.into_iter()), [""; 0], "keys of the configuration and fields of records");
    let reasons = Reason::ALL.into_iter().map(|reason| reason.to_string());
    assert_eq!(missing(&mut reasons.into_iter()), [""; 0], "reasons");
    let families = ["src/metrics/family.rs", "src/metrics/mod.rs"]
        .map(|file| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap());
    let families: BTreeSet<String> = families
        .iter()
        .flat_map(|text| text.split('"').skip(1).step_by(2))
        .filter(|text| is_family(text))
        .map(str::to_owned)
        .collect();
    assert!(families.len() > 20, "the families are where they are looked for: {families:?}");
    assert_eq!(missing(&mut families.into_iter()), [""; 0], "families of metrics");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let crates = manifest.split("[dependencies]").nth(1).unwrap().split("[dev-dependencies]").next().unwrap();
    let crates = crates.lines().filter_map(|line| Some(line.split_once(" = ")?.0.to_owned()));
    assert_eq!(missing(&mut crates.into_iter()), [""; 0], "dependencies");
}

#[test]
fn a_difference_is_seen_and_a_varying_value_is_not() {
    let line = |time: &str, status: &str| {
        masked(&format!("{{\"time\":\"{time}\",\"status\":{status}}}\r\nx-request-id: {time}\n"))
    };
    assert_eq!(line("1", "403"), line("2", "403"));
    assert_ne!(line("1", "403"), line("1", "200"));
    let readme =
        "## A tour in five minutes\n\n```sh\na\n```\nwords\n```text\nb\n```\n## Next\n```sh\nc\n```\n";
    assert_eq!(steps(readme, TOUR), [Step { commands: "a".to_owned(), output: "b".to_owned() }]);
}
