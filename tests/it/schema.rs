//! The JSON Schemas, asked by a validator that is not ours: what is shipped fits, what is refused does not.

use std::fs;
use std::path::{Path, PathBuf};

use crate::kit::process::BINARY;
use crate::kit::tool;

/// Says which documents of YAML files do not fit the schema in the first argument.
const VALIDATE: &str = r#"
import json, sys, jsonschema, yaml
schema = jsonschema.Draft202012Validator(json.load(open(sys.argv[1])))
for name in sys.argv[2:]:
    for place, document in enumerate(yaml.safe_load_all(open(name))):
        if any(schema.iter_errors(document)):
            print(f"{name}#{place}")
"#;

/// The files that do not fit a schema, each with its document; `None` where there is no validator.
async fn misfits(schema: &str, files: &[PathBuf]) -> Option<Vec<String>> {
    let python = tool::find("python")?;
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("schema.json");
    let printed = tool::run(Path::new(BINARY), ["schema", schema]).await;
    fs::write(&place, printed.stdout).unwrap();
    let words = ["-c".into(), VALIDATE.into(), place].into_iter().chain(files.iter().cloned());
    let ran = tool::run(&python, words).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    Some(ran.stdout.lines().map(str::to_owned).collect())
}

/// Every YAML file in directories of the project.
fn shipped(directories: &[&str]) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let inside = |directory: &&str| fs::read_dir(root.join(directory)).unwrap();
    let paths = directories.iter().flat_map(inside).map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|ending| ending == "yaml")).collect()
}

#[tokio::test]
async fn every_shipped_policy_and_configuration_fits_its_schema() {
    let policies = [
        "policies",
        "policies/multi-tenant",
        "deploy/compose/policies",
        "deploy/compose/policies-inside-tls",
    ];
    let policies = shipped(&policies);
    assert!(policies.len() >= 13, "{policies:?}");
    let Some(wrong) = misfits("policy", &policies).await else { return };
    assert_eq!(wrong, [""; 0]);
    let mut configurations = shipped(&["deploy/compose", "deploy/nftables", "deploy/systemd"]);
    configurations.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with("gate"));
    assert_eq!(configurations.len(), 4);
    assert_eq!(misfits("config", &configurations).await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn the_examples_of_the_readme_fit_the_schema_and_a_slip_in_them_does_not() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for (number, block) in readme.split("\n```yaml\n").skip(1).enumerate() {
        let text = format!("{}\n", block.split("\n```").next().unwrap());
        let [whole, slipped] =
            ["good", "bad"].map(|kind| directory.path().join(format!("{kind}{number}.yaml")));
        fs::write(&whole, &text).unwrap();
        good.push(whole);
        if text.contains("operation: Set") || text.contains("clientSecret") {
            fs::write(
                &slipped,
                text.replace("operation: Set", "operation: set").replace("clientSecret", "secret"),
            )
            .unwrap();
            bad.push(slipped);
        }
    }
    assert!(good.len() >= 4 && bad.len() == 2, "{good:?} {bad:?}");
    let Some(wrong) = misfits("policy", &good).await else { return };
    assert_eq!(wrong, [""; 0]);
    assert_eq!(misfits("policy", &bad).await.unwrap().len(), 2);
}
