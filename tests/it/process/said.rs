//! What commands say: exit codes, JSON, places and colours.

use super::*;

#[tokio::test]
async fn every_command_has_the_exit_codes_that_scripts_rely_on() {
    let place = Place::with("mode: Limited\nhostRules: [pypi.org]\n");
    place.write("broken.yaml", "mode: limited\n");
    place.write(
        "corpus.yaml",
        "policy: policy.yaml\nquestions:\n  - {target: 'pypi.org:443', expect: {verdict: allow}}\n",
    );
    place.write(
        "wrong.yaml",
        "policy: policy.yaml\nquestions:\n  - {target: 'pypi.org:443', expect: {verdict: deny}}\n",
    );
    let cases: &[(&[&str], i32)] = &[
        (&["check", "policy.yaml"], 0),
        (&["check", "policy.yaml", "broken.yaml"], 1),
        (&["check", "missing.yaml"], 1),
        (&["check"], 2),
        (&["check", "--nope", "policy.yaml"], 2),
        (&["explain", "--policy", "policy.yaml", "pypi.org"], 0),
        (&["explain", "--policy", "policy.yaml", "--json", "pypi.org:443"], 0),
        (&["explain", "--policy", "policy.yaml", "https://pypi.org/simple"], 0),
        (&["explain", "--policy", "policy.yaml", "evil.test"], 3),
        (&["explain", "--policy", "policy.yaml", "pypi.org:8443"], 3),
        (&["explain", "--policy", "policy.yaml", "--address", "169.254.169.254", "pypi.org"], 3),
        (&["explain", "--policy", "policy.yaml", "pypi.org:0"], 2),
        (&["explain", "--policy", "policy.yaml", "0x7f.1"], 2),
        (&["explain", "--policy", "policy.yaml"], 2),
        (&["explain", "--policy", "broken.yaml", "pypi.org"], 1),
        (&["test", "corpus.yaml"], 0),
        (&["test", "corpus.yaml", "wrong.yaml"], 1),
        (&["test", "missing.yaml"], 1),
        (&["test"], 2),
        (&["schema"], 0),
        (&["schema", "config"], 0),
        (&["schema", "audit"], 0),
        (&["schema", "nope"], 2),
        (&["completions", "bash"], 0),
        (&["completions", "zsh"], 0),
        (&["completions", "fish"], 0),
        (&["completions", "nope"], 2),
        (&["--help"], 0),
        (&["--version"], 0),
        (&["nope"], 2),
        (&[], 2),
        (&["run", "--policy", "policy.yaml", "--listen", "nonsense"], 2),
        (&["run", "--policy", "policy.yaml", "--transparent", "nonsense"], 2),
        (&["run", "--config", "missing.yaml"], 1),
    ];
    for (arguments, code) in cases {
        let ran = ran(&place, arguments).await;
        assert_eq!(ran.code, *code, "{arguments:?}: {}{}", ran.stdout, ran.stderr);
        assert!(!ran.stdout.is_empty() || !ran.stderr.is_empty(), "{arguments:?} says nothing");
    }
}

#[tokio::test]
async fn what_programs_read_is_json() {
    let place = Place::with("mode: Limited\nhostRules: [pypi.org]\n");
    place.write("broken.yaml", "mode: limited\n");
    for (arguments, pointer, expected) in [
        (vec!["check", "--json", "policy.yaml"], "/ok", Value::Bool(true)),
        (vec!["check", "--json", "broken.yaml"], "/problems/0/line", 1.into()),
        (vec!["explain", "--json", "--policy", "policy.yaml", "evil.test"], "/reason", "default_deny".into()),
        (vec!["schema", "policy"], "/$schema", "https://json-schema.org/draft/2020-12/schema".into()),
        (vec!["schema", "config"], "/$schema", "https://json-schema.org/draft/2020-12/schema".into()),
        (vec!["schema", "audit"], "/$schema", "https://json-schema.org/draft/2020-12/schema".into()),
    ] {
        let ran = ran(&place, &arguments).await;
        let value: Value =
            serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
        assert_eq!(value.pointer(pointer), Some(&expected), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_problem_shows_place_line_caret_and_cure() {
    let place = Place::with("");
    let cases = [
        (
            "mode: Limited\nhostRules:\n  - *.github.com\n",
            "error: `*.github.com` is an alias to YAML, and nothing has that anchor\n --> policy.yaml:3:5\n  |\n3 |   - *.github.com\n  |     ^\n  = help: quote it: \"*.github.com\"\n",
        ),
        (
            "mode: limited\n",
            "error: mode: unknown value `limited`: expected `Limited` or `Unrestricted` or `VNet`\n --> policy.yaml:1:7\n  |\n1 | mode: limited\n  |       ^\n  = help: did you mean `Limited`?\n",
        ),
        (
            "mode: Limited\nhostRules:\n  - {pattern: a.test, acton: Deny}\n",
            "error: hostRules[0]: unknown key `acton`\n --> policy.yaml:3:23\n  |\n3 |   - {pattern: a.test, acton: Deny}\n  |                       ^\n  = help: did you mean `action`?\n",
        ),
        (
            "cidrRules:\n  - {cidr: 10.0.0.1/8, action: Deny}\n",
            "error: cidrRules[0].cidr: `10.0.0.1/8` has bits set beyond its prefix\n --> policy.yaml:2:12\n  |\n2 |   - {cidr: 10.0.0.1/8, action: Deny}\n  |            ^\n  = help: write 10.0.0.0/8 for the network, or 10.0.0.1/32 for the one address\n",
        ),
    ];
    for (policy, expected) in cases {
        place.write("policy.yaml", policy);
        let ran = ran(&place, &["check", "policy.yaml"]).await;
        assert_eq!((ran.code, ran.stderr.as_str()), (1, expected));
    }
}

#[tokio::test]
async fn colours_are_for_terminals_whose_user_does_not_mind() {
    let Some(script) = tool::find("script") else { return };
    let place = Place::with("mode: limited\n");
    // A warning of the log, and a complaint about the command line.
    for line in ["ulimit -n 64; exec \"$0\" run --policy policy.yaml", "exec \"$0\" nope"] {
        for (no_color, coloured) in [("", true), ("1", false)] {
            let mut command = command(&script);
            let shell = format!("sh -c '{}'", line.replace("\"$0\"", BINARY));
            command.args(["-qec", &shell, "/dev/null"]).env("TERM", "xterm").env("NO_COLOR", no_color);
            let output = command.current_dir(place.path("")).output();
            let output = within("the binary to end", output).await.unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(!text.is_empty());
            assert_eq!(text.contains("\x1b["), coloured, "{line} {no_color}: {text:?}");
        }
    }
}
