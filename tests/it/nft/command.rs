//! `capture print` and `capture verify`.

use super::*;

/// Runs the binary, in the gateway's namespace where there is one.
async fn ran(net: Option<&Net>, arguments: &[&str]) -> Ran {
    let words: Vec<&str> = [BINARY].into_iter().chain(arguments.iter().copied()).collect();
    match net {
        None => tool::run(Path::new(words[0]), &words[1..]).await,
        Some(net) => {
            let name = net.name(At::Gateway);
            let words: Vec<&str> = ["netns", "exec", &name].into_iter().chain(words).collect();
            tool::run(&tool::find("ip").unwrap(), words).await
        }
    }
}

#[tokio::test]
async fn print_and_verify_have_the_exit_codes_that_scripts_rely_on() {
    for (arguments, part) in [
        (&[][..], "--interface"),
        (&["--interface", "a b"], "`a b` is not an interface"),
        (&["--interface", "*"], "is not an interface"),
        (&["--interface", "lo"], "loopback"),
        (&["--interface", "v=300.1.1.1"], "`300.1.1.1` is not an address"),
        (&["--interface", "v", "--interface", "v"], "named twice"),
        (&["--interface", "v", "--transparent-port", "9901"], "port 9901"),
        (&["--interface", "v", "--mode", "bridge"], "--mode"),
        (&["--interface", "v", "--sidecar-uid", "5"], "--sidecar-uid"),
        (&["--sidecar-uid", "0"], "--sidecar-uid"),
    ] {
        for command in ["print", "verify"] {
            let words: Vec<&str> = ["nft", command].into_iter().chain(arguments.iter().copied()).collect();
            let ran = ran(None, &words).await;
            assert!(ran.code == 2 && ran.stderr.contains(part), "{arguments:?}: {} {}", ran.code, ran.stderr);
            assert!(ran.stdout.is_empty(), "{}", ran.stdout);
        }
    }
    let Some(net) = Net::bare() else { return };
    let arguments = ["--interface", "veth-*=10.200.0.0/16", "--explicit-port", "3128"];
    let words = |command: &'static str| ["nft", command].into_iter().chain(arguments).collect::<Vec<_>>();
    let missing = ran(Some(&net), &words("verify")).await;
    assert!(missing.code == 1 && missing.stdout.contains("there is no table `inet sluicegate`"));
    let printed = ran(Some(&net), &words("print")).await;
    assert_eq!((printed.code, printed.stderr.as_str()), (0, ""));
    net.load(&printed.stdout);
    let verified = ran(Some(&net), &words("verify")).await;
    assert_eq!((verified.code, verified.stdout.as_str()), (0, "ok: every rule is loaded\n"));
    // The command in the head of the file is the one that checks it.
    let told = printed.stdout.lines().find_map(|line| line.split_once("sluicegate nft verify ")).unwrap().1;
    let told: Vec<String> = told.split(' ').map(|word| word.trim_matches('\'').to_owned()).collect();
    let told: Vec<&str> =
        ["nft", "verify", "--json"].into_iter().chain(told.iter().map(String::as_str)).collect();
    let verified = ran(Some(&net), &told).await;
    let answer: Value = serde_json::from_str(&verified.stdout).unwrap();
    assert_eq!((verified.code, &answer["ok"]), (0, &json!(true)));
    net.run(At::Gateway, &["nft", "add", "chain", "inet", "sluicegate", "forward", "{ policy accept ; }"]);
    let verified = ran(Some(&net), &told).await;
    let answer: Value = serde_json::from_str(&verified.stdout).unwrap();
    assert_eq!((verified.code, answer["findings"].as_array().unwrap().len()), (1, 1), "{answer}");
    let cause = answer["findings"][0]["cause"].as_str().unwrap();
    assert_eq!(cause, "the policy of chain `forward` is \"accept\" and must be \"drop\"");
}

#[tokio::test]
async fn without_nft_or_the_right_to_ask_it_is_said_so() {
    let arguments = ["nft", "verify", "--interface", "veth-*"];
    let mut command = tokio::process::Command::new(BINARY);
    let ran = command.args(arguments).env("PATH", "/nowhere").output().await.unwrap();
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.code() == Some(1) && told.contains("install nftables"), "{told}");
    let Some(_net) = Net::bare() else { return };
    let Some(setpriv) = tool::find("setpriv") else { return };
    // The binary may be where the user may not look.
    let directory = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap();
    let copy = directory.path().join("sluicegate");
    fs::copy(BINARY, &copy).unwrap();
    let words = ["--reuid", "65532", "--clear-groups", copy.to_str().unwrap()];
    let ran = tool::run(&setpriv, words.into_iter().chain(arguments)).await;
    assert!(ran.code == 1 && ran.stderr.contains("CAP_NET_ADMIN"), "{}", ran.stderr);
}

#[tokio::test]
async fn the_configuration_says_which_rules_there_should_be() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("gate.yaml");
    let print = async |text: &str, more: &[&str]| {
        fs::write(&config, text).unwrap();
        let always = ["nft", "print", "--config", config.to_str().unwrap()];
        let words: Vec<&str> = always.into_iter().chain(more.iter().copied()).collect();
        ran(None, &words).await
    };
    let text = "listeners:
  - {address: '10.0.0.1:3129'}
  - {address: '0.0.0.0:15001', kind: Transparent, mode: TProxy}
admin: {address: 127.0.0.1:9999}
sandboxes: [{id: sbx-1, sources: [10.200.1.2]}]
capture:
  interfaces: [{name: veth-1, sandbox: sbx-1}, {name: tap0, sources: [10.9.0.0/16]}, {name: \"veth-*\"}]
  ipv6: true
  gatewayAddresses: [10.0.0.1]
";
    let printed = print(text, &[]).await;
    let head = printed.stdout.lines().next().unwrap_or_default();
    let expected = "# Made by: sluicegate nft print --interface 'veth-1=10.200.1.2/32' --interface 'tap0=10.9.0.0/16' \
                    --interface 'veth-*' --mode tproxy --gateway-address 10.0.0.1 --ipv6 --transparent-port 15001 \
                    --no-dns --explicit-port 3129 --admin-port 9999";
    assert_eq!((printed.code, head), (0, expected), "{}", printed.stderr);
    let printed = print(text, &["--interface", "eth7=sbx-1", "--explicit-port", "3130"]).await;
    assert!(
        printed.stdout.contains("--interface 'eth7=10.200.1.2/32' --mode tproxy --ipv6"),
        "{}",
        printed.stdout
    );
    assert!(printed.stdout.contains("--explicit-port 3130"));
    let two = "listeners:
  - {address: '10.0.0.1:15001', kind: Transparent}
  - {address: '[::1]:15001', kind: Transparent, mode: TProxy}
capture: {interfaces: [{name: a}]}
";
    let printed = print(two, &[]).await;
    assert!(printed.code == 2 && printed.stderr.contains("different modes"), "{}", printed.stderr);
    let printed = print("capture: {sidecarUid: 7}\n", &[]).await;
    assert!(printed.stdout.contains("meta skuid 7 accept"));
    for (text, part) in [
        ("capture: {}\n", "names nobody"),
        ("capture: {interfaces: []}\n", "names nobody"),
        ("capture: {interfaces: [{name: 'a b'}]}\n", "is not an interface"),
        ("capture: {interfaces: [{name: a}, {name: a}]}\n", "named twice"),
        ("capture: {interfaces: [{name: a, sandbox: b}]}\n", "no sandbox `b` is listed"),
        ("capture: {interfaces: [{name: a}], sidecarUid: 7}\n", "a sidecar shares"),
        ("capture: {sidecarUid: 0}\n", "0"),
        ("capture: {interfaces: [{name: a}], gatewayAddresses: [x]}\n", "is not an address"),
        ("capture: {interfaces: [{name: a}], mode: TProxy}\n", "unknown key `mode`"),
        (
            "listeners: [{address: '127.0.0.1:15001', kind: Transparent, mode: TProxy}]\ncapture: {sidecarUid: 7}\n",
            "give that listener `mode: Redirect`",
        ),
    ] {
        let printed = print(text, &[]).await;
        assert!(printed.code == 1 && printed.stderr.contains(part), "{text}: {}", printed.stderr);
    }
    let clash = print("capture: {interfaces: [{name: a}]}\nadmin: {address: '127.0.0.1:15001'}\n", &[]).await;
    assert!(clash.code == 2 && clash.stderr.contains("port 15001"), "{}", clash.stderr);
    assert_eq!(SettingsError::Nobody.to_string(), "no interface is named: the rules would take nothing");
}
