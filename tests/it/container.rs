//! The Dockerfile, without a container engine: what its steps say works here.
//!
//! The release build itself is in `tests/container.sh`; here the program of the tests stands in for it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Command;

use crate::kit::within;

/// The program of the tests.
const PROGRAM: &str = env!("CARGO_BIN_EXE_sluicegate");

/// One stage: its base image and its instructions, comments left out.
#[derive(Debug)]
struct Stage {
    base: String,
    steps: Vec<(String, String)>,
}

impl Stage {
    /// The arguments of every instruction of this name.
    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.steps.iter().filter(move |(step, _)| step == name).map(|(_, arguments)| arguments.as_str())
    }

    /// The arguments of the one instruction of this name.
    fn one<'a>(&'a self, name: &'a str) -> &'a str {
        let all: Vec<_> = self.all(name).collect();
        assert_eq!(all.len(), 1, "one {name}");
        all[0]
    }

    /// The environment that it sets.
    fn environment(&self) -> BTreeMap<&str, &str> {
        let pairs = self.all("ENV").map(|pair| pair.split_once('=').expect("ENV NAME=value"));
        pairs.map(|(name, value)| (name, value.trim_matches('"'))).collect()
    }

    /// The words of an instruction in exec form.
    fn words(&self, name: &str) -> Vec<String> {
        let form = self.one(name);
        let list = &form[form.find('[').expect("the exec form: there is no shell")..];
        let list: Value = serde_json::from_str(list).expect("a JSON list");
        list.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    }
}

/// The stages of the Dockerfile.
fn stages() -> [Stage; 2] {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Dockerfile")).unwrap();
    let mut stages: Vec<Stage> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, arguments) = line.split_once(' ').expect("an instruction and its arguments");
        if name == "FROM" {
            stages.push(Stage { base: arguments.to_owned(), steps: Vec::new() });
        } else {
            stages.last_mut().unwrap().steps.push((name.to_owned(), arguments.to_owned()));
        }
    }
    stages.try_into().expect("a stage that builds and a stage that is left")
}

#[test]
fn what_is_left_is_empty_but_for_the_program_and_is_not_root() {
    let [build, image] = stages();
    assert_eq!(image.base, "scratch");
    assert_eq!(image.one("COPY"), "--from=build /image/ /");
    assert_eq!((image.all("RUN").count(), image.all("ADD").count(), image.all("VOLUME").count()), (0, 0, 0));
    let user: Vec<u32> = image.one("USER").split(':').map(|id| id.parse().expect("a number")).collect();
    assert!(user.len() == 2 && !user.contains(&0), "without /etc/passwd a user is two numbers");
    assert!(build.environment()["RUSTFLAGS"].contains("+crt-static"));
    assert!(build.all("RUN").any(|step| step.starts_with("cargo build --release --locked ")));
    let roots = "/etc/ssl/certs/ca-certificates.crt";
    let brings_roots = |step: &str| step.ends_with(&format!("{roots} /image{roots}"));
    assert!(build.all("RUN").any(brings_roots), "without authorities no origin could be verified");
    let admin = image.environment()["SLUICEGATE_ADMIN"];
    assert!(admin.starts_with("127.0.0.1:"), "the admin server stays inside");
}

#[test]
fn the_compiler_of_the_image_is_new_enough() {
    let [build, _] = stages();
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let needed = manifest.split("rust-version = \"").nth(1).unwrap().split('"').next().unwrap();
    assert!(build.base.starts_with(&format!("rust:{needed}-")), "{} and rust-version {needed}", build.base);
}

#[tokio::test]
async fn the_image_starts_answers_its_health_check_and_stops() {
    let [build, image] = stages();
    let root = tempfile::tempdir().unwrap();
    let place = root.path().to_str().unwrap();
    let installs: Vec<_> = build.all("RUN").filter(|step| step.starts_with("install ")).collect();
    assert_eq!(installs.len(), 3);
    for step in installs {
        let step = step.replace("/build/*/release/sluicegate", PROGRAM).replace("/image", place);
        let mut shell = Command::new("sh");
        shell.args(["-euc", &step]).current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(shell.status().await.unwrap().success(), "{step}");
    }

    let environment = image.environment();
    let command = |words: &[String], admin: &str| {
        let mut command = Command::new(format!("{place}{}", words[0]));
        command.args(&words[1..]).env_clear().kill_on_drop(true);
        for (name, value) in &environment {
            let value = match *name {
                "SLUICEGATE_ADMIN" => admin.to_owned(),
                _ => format!("{place}{value}"),
            };
            command.env(name, value);
        }
        command
    };
    let mut words = [image.words("ENTRYPOINT"), image.words("CMD")].concat();
    let listen = words.iter_mut().find(|word| *word == "0.0.0.0:3128").expect("it is open to its network");
    *listen = "127.0.0.1:0".to_owned();
    let mut gateway = command(&words, "127.0.0.1:0");
    let mut gateway = gateway.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(gateway.stderr.take().unwrap()).lines();
    let admin = within("the gateway to listen", async {
        loop {
            let line = log.next_line().await.unwrap().expect("the gateway runs");
            if let Some((_, address)) = line.split_once("admin server is listening address=") {
                return address.to_owned();
            }
        }
    });
    let admin = admin.await;

    let health = image.words("HEALTHCHECK");
    let ran = within("the health check", command(&health, &admin).output()).await.unwrap();
    assert!(ran.status.success(), "{ran:?}");

    let id = gateway.id().expect("it runs").to_string();
    let signal = image.one("STOPSIGNAL").trim_start_matches("SIG").to_owned();
    let sent = Command::new("sh").args(["-c", &format!("kill -s {signal} {id}")]).status().await.unwrap();
    assert!(sent.success());
    let mut rest = String::new();
    within("the log to end", log.into_inner().read_to_string(&mut rest)).await.unwrap();
    let ended = within("the gateway to stop", gateway.wait()).await.unwrap();
    assert!(ended.success(), "{rest}");
    let ran = within("the health check", command(&health, &admin).output()).await.unwrap();
    assert!(!ran.status.success(), "a gateway that is gone is not healthy");
}
