//! What the documentation and `deploy/` write is what the command line takes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;

use super::*;

/// Every file below a directory.
fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// What is shipped to be run or read: its name and text.
fn shipped() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = vec![root.join("README.md"), root.join("Dockerfile")];
    files(&root.join("deploy"), &mut all);
    all.into_iter().map(|path| (path.display().to_string(), fs::read_to_string(&path).unwrap())).collect()
}

/// The names of the subcommands.
fn subcommands() -> Vec<String> {
    Arguments::command().get_subcommands().map(|command| command.get_name().to_owned()).collect()
}

/// The command lines of this program in a line of a file: `sluicegate run …`, or a list as in `args: [run, …]`.
fn commands(line: &str) -> Vec<Vec<String>> {
    let mut found: Vec<Vec<String>> = Vec::new();
    for rest in line.split("sluicegate ").skip(1) {
        let line = rest.split(['|', ';', '>', '#', ')', '`', '&', '"']).next().unwrap_or_default();
        let words = line.split_whitespace().filter(|word| *word != "2");
        found.push(words.map(|word| word.trim_matches('\'').to_owned()).collect());
    }
    for opening in ["command: [", "args: [", "CMD ["] {
        if let Some((_, rest)) = line.split_once(opening) {
            let list = rest.split(']').next().unwrap_or_default();
            let words = list.split(',').map(|word| word.trim().trim_matches('"').to_owned());
            found.push(words.skip_while(|word| word.ends_with("/sluicegate")).collect());
        }
    }
    let known = subcommands();
    // A sentence may name a subcommand alone.
    let is_whole = |words: &Vec<String>| words.len() > 1 || words == &["run"] || words == &["health"];
    found.retain(|words| is_whole(words) && words.first().is_some_and(|first| known.contains(first)));
    found
}

#[test]
fn every_command_line_that_is_shipped_is_understood() {
    let mut count = 0;
    for (name, text) in shipped() {
        for words in text.lines().flat_map(commands) {
            // Words go on behind a command that a sentence names.
            let words: Vec<_> =
                words.iter().map(String::as_str).take_while(|word| !word.ends_with(',')).collect();
            let line = ["sluicegate"].into_iter().chain(words);
            if let Err(error) = Arguments::try_parse_from(line.clone()) {
                panic!("{name}: {:?}: {error}", line.collect::<Vec<_>>());
            }
            count += 1;
        }
    }
    assert!(count > 25, "only {count} were found");
}

#[test]
fn a_command_line_is_found_where_it_stands_and_a_wrong_one_is_seen() {
    for (line, words) in [
        ("ExecStart=/usr/local/bin/sluicegate run --config a.yaml", "run --config a.yaml"),
        ("sluicegate run --config gate.yaml 2> gate.log &", "run --config gate.yaml"),
        ("args: [run, --config, a.yaml]", "run --config a.yaml"),
        ("  exec: {command: [/sluicegate, health, --ready]}", "health --ready"),
        ("CMD [\"run\", \"--listen\", \"0.0.0.0:1\"]", "run --listen 0.0.0.0:1"),
        ("rules=$(sluicegate nft print --interface 'a=b'); x", "nft print --interface a=b"),
    ] {
        assert_eq!(commands(line), [words.split(' ').map(str::to_owned).collect::<Vec<_>>()], "{line}");
    }
    assert!(commands("command: [sleep, infinity]").is_empty());
    assert!(Arguments::try_parse_from(["sluicegate", "run", "--configuration", "a"]).is_err());
}

/// Every flag and variable of a command and those below it.
fn arguments(command: &clap::Command, flags: &mut BTreeSet<String>, variables: &mut BTreeSet<String>) {
    for argument in command.get_arguments() {
        flags.extend(argument.get_long().map(|long| format!("--{long}")));
        variables.extend(argument.get_env().map(|name| name.to_string_lossy().into_owned()));
    }
    for inner in command.get_subcommands() {
        arguments(inner, flags, variables);
    }
}

#[test]
fn the_readme_names_every_subcommand_flag_and_variable_and_no_file_names_another_variable() {
    let (mut flags, mut variables) = (BTreeSet::new(), BTreeSet::new());
    arguments(&Arguments::command(), &mut flags, &mut variables);
    let all = shipped();
    let readme = &all[0].1;
    let names = subcommands().into_iter().chain(flags).chain(variables.iter().cloned());
    let missing: Vec<String> = names.filter(|name| !readme.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
    variables.insert("SLUICEGATE_LOG".to_owned());
    for (name, text) in all {
        for rest in text.split("SLUICEGATE_").skip(1) {
            let name_of =
                rest.split(|c: char| !c.is_ascii_uppercase() && c != '_').next().unwrap_or_default();
            assert!(variables.contains(&format!("SLUICEGATE_{name_of}")), "{name}: {name_of}");
        }
    }
}

#[test]
fn s5_no_wish_makes_a_library_tell_in_detail() {
    for (target, level, shown) in [
        ("sluicegate::proxy", Level::TRACE, true),
        ("sluicegate", Level::DEBUG, true),
        ("h2::server", Level::INFO, true),
        ("h2::server", Level::DEBUG, false),
        ("hyper::proto", Level::TRACE, false),
        ("sluicegate_other", Level::TRACE, false),
        ("", Level::DEBUG, false),
    ] {
        assert_eq!(may_be_logged(target, level), shown, "{target} {level}");
    }
}
