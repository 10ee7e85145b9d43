//! What `deploy/` ships: it parses, fits its schema, and says what the program understands.

use std::fs;
use std::path::{Path, PathBuf};

use sluicegate::config::{Config, ListenerKind};

use crate::kit::process::BINARY;
use crate::kit::tool::{self, Ran};

/// Every file below `deploy/` with this ending.
fn files(ending: &str) -> Vec<PathBuf> {
    let (mut found, mut left) = (Vec::new(), vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")]);
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|found| found == ending) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "no .{ending}");
    found
}

/// Runs a module of the Python with the test packages.
async fn module(name: &str, arguments: &[&str], files: &[PathBuf]) -> Option<Ran> {
    let python = tool::find("python")?;
    let words = ["-m", name].into_iter().chain(arguments.iter().copied()).map(PathBuf::from);
    Some(tool::run(&python, words.chain(files.iter().cloned())).await)
}

/// The files of a directory of `deploy/`.
fn below(directory: &str) -> Vec<PathBuf> {
    files("yaml")
        .into_iter()
        .filter(|path| path.components().any(|part| part.as_os_str() == directory))
        .collect()
}

#[tokio::test]
async fn all_yaml_is_well_formed_without_doubtful_values_or_double_keys() {
    let rules = "{extends: default, rules: {line-length: {max: 160}, document-start: disable, braces: {max-spaces-inside: 0}, comments: {min-spaces-from-content: 1}}}";
    let Some(ran) = module("yamllint", &["--strict", "-d", rules], &files("yaml")).await else { return };
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{}", ran.stderr);
}

#[tokio::test]
async fn the_compose_file_fits_the_compose_specification() {
    let is_compose =
        |path: &PathBuf| path.ends_with("compose.yaml") || path.ends_with("compose/inside-tls.yaml");
    let files: Vec<_> = below("compose").into_iter().filter(is_compose).collect();
    assert_eq!(files.len(), 2, "{files:?}");
    let arguments = ["--builtin-schema", "vendor.compose-spec"];
    let Some(ran) = module("check_jsonschema", &arguments, &files).await else { return };
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
}

#[tokio::test]
async fn the_objects_of_kubernetes_fit_their_schemas_and_nothing_is_made_up() {
    let all = below("kubernetes");
    assert_eq!(all.len(), 4);
    let Some(ran) = module("kubernetes_validate", &["--strict", "--no-warn"], &all).await else { return };
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.matches("passed").count() >= 11, "{}{}", ran.stdout, ran.stderr);
}

#[tokio::test]
async fn the_units_of_systemd_are_understood() {
    let Some(analyze) = tool::find("systemd-analyze") else { return };
    let directory = tempfile::tempdir().unwrap();
    let mut units = Vec::new();
    for path in files("service").into_iter().chain(files("socket")) {
        let unit = directory.path().join(path.file_name().unwrap());
        fs::write(&unit, fs::read_to_string(path).unwrap().replace("/usr/local/bin/sluicegate", BINARY))
            .unwrap();
        units.push(unit);
    }
    let more = directory.path().join("sluicegate.service.d");
    fs::create_dir(&more).unwrap();
    for path in files("conf") {
        fs::copy(&path, more.join(path.file_name().unwrap())).unwrap();
    }
    let words = ["verify", "--man=no"].into_iter().map(PathBuf::from);
    let ran = tool::run(&analyze, words.chain(units)).await;
    let ours: Vec<_> = ran.stderr.lines().filter(|line| line.contains("sluicegate")).collect();
    assert!(ours.is_empty(), "{ours:#?}");
}

/// The configurations of shipped objects: files, and values of config maps.
fn configurations() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for path in files("yaml") {
        let (name, text) = (path.display().to_string(), fs::read_to_string(&path).unwrap());
        if path.ends_with("gate.yaml") || path.ends_with("gate-inside-tls.yaml") {
            found.push((name.clone(), text.clone()));
        }
        for block in text.split("  gate.yaml: |\n").skip(1) {
            let lines = block.lines().take_while(|line| line.starts_with("    "));
            found.push((name.clone(), lines.flat_map(|line| [&line[4..], "\n"]).collect()));
        }
    }
    found
}

#[tokio::test]
async fn every_shipped_configuration_is_accepted_with_its_policies() {
    let all = configurations();
    assert_eq!(all.len(), 8, "{all:#?}");
    let compose = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/compose");
    let directory = tempfile::tempdir().unwrap();
    let (config, ca) = (directory.path().join("gate.yaml"), directory.path().join("ca"));
    let made = tool::run(Path::new(BINARY), ["ca".as_ref(), "init".as_ref(), ca.as_os_str()]).await;
    assert_eq!(made.code, 0, "{}", made.stderr);
    let mut inside = 0;
    for (name, text) in all {
        // Where the sandbox CA is on this machine.
        let mut here = text.clone();
        for place in [
            "/etc/sluicegate/ca/ca.pem",
            "/run/sluicegate/ca/ca.pem",
            "/run/secrets/ca-key.pem",
            "/run/sluicegate/ca/ca-key.pem",
        ] {
            let file = ca.join(Path::new(place).file_name().unwrap());
            here = here.replace(place, file.to_str().unwrap());
        }
        let looks_inside = here != text;
        inside += usize::from(looks_inside);
        fs::write(&config, here).unwrap();
        let own = Path::new(&name).with_file_name("policies");
        let policies = match looks_inside {
            true => compose.join("policies-inside-tls"),
            false if own.is_dir() => own,
            false => compose.join("policies"),
        };
        let words = ["check".as_ref(), policies.as_os_str(), "--config".as_ref(), config.as_os_str()];
        let ran = tool::run(Path::new(BINARY), words).await;
        // The token is where it is deployed, and not here.
        let told = ran.stderr.lines().filter(|line| line.starts_with("warning") || line.starts_with("error"));
        let told: Vec<_> = told.filter(|line| !line.contains("`github/token` cannot be had")).collect();
        assert_eq!((ran.code, told), (0, Vec::new()), "{name}: {}", ran.stderr);
    }
    assert_eq!(inside, 2, "configurations that look inside TLS");
}

#[test]
fn no_key_of_a_ca_and_no_token_is_mounted_into_a_sandbox_and_those_of_the_gateway_are_read_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let compose = fs::read_to_string(root.join("compose/inside-tls.yaml")).unwrap();
    let (gateway, sandbox) = compose.split_once("\n  sandbox:\n").expect("both services");
    assert!(gateway.contains("./secrets:/run/secrets:ro"), "{gateway}");
    let kubernetes = fs::read_to_string(root.join("kubernetes/inside-tls.yaml")).unwrap();
    let (deployment, pod) = kubernetes.split_once("\nkind: Pod\n").expect("a gateway and a sandbox");
    assert_eq!(deployment.matches("secretName").count(), deployment.matches("defaultMode: 0440").count());
    assert!(deployment.contains("fsGroup: 65532") && !deployment.contains("defaultMode: 0644"));
    for text in [sandbox, pod] {
        assert!(text.contains("bundle.pem") && !text.contains("ca-key"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
    for mount in compose.lines().filter_map(|line| line.trim().strip_prefix("- ./")) {
        assert!(mount.ends_with(":ro"), "{mount}");
    }
    for mount in kubernetes.lines().filter(|line| line.contains("mountPath")) {
        assert!(mount.contains("readOnly: true"), "{mount}");
    }
}

#[test]
fn every_socket_of_the_unit_is_a_listener_of_its_configuration_and_every_taken_port_has_one() {
    let systemd = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd");
    let read = |name: &str| fs::read_to_string(systemd.join(name)).unwrap();
    let config = Config::parse(&"gate.yaml".into(), &read("gate.yaml")).unwrap().config;
    let unit = read("sluicegate.socket");
    let sockets: Vec<_> = unit.lines().filter_map(|line| line.strip_prefix("ListenStream=")).collect();
    let streams = config.listeners.iter().filter(|listener| !matches!(listener.kind, ListenerKind::Dns(_)));
    assert_eq!(sockets, streams.map(|listener| listener.address.to_string()).collect::<Vec<_>>());
    for (name, text) in configurations() {
        let config = Config::parse(&"gate.yaml".into(), &text).unwrap().config;
        let kinds: Vec<_> = config.listeners.iter().map(|listener| listener.kind).collect();
        let takes = kinds.contains(&ListenerKind::Transparent)
            && kinds.iter().any(|kind| matches!(kind, ListenerKind::Dns(_)));
        assert_eq!(config.capture.is_some(), takes, "{name}: rules lead to ports that nobody listens on");
    }
}
