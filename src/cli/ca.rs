//! `ca`: the sandbox CA, made and handed out.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, Subcommand, ValueEnum};
use rustls::pki_types::CertificateDer;
use serde_json::json;

use super::policy::config;
use crate::intercept::authority;
use crate::intercept::create::{self, MOST_DAYS, write_new};
use crate::intercept::trust;

/// Make the sandbox CA, or print how clients are made to trust it
#[derive(Debug, Args)]
pub(super) struct Ca {
    /// What to do
    #[command(subcommand)]
    command: Command,
}

/// Make or print.
#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new one: DIR/ca.pem, and DIR/ca-key.pem that only you can read; nothing is ever overwritten
    Init(Init),
    /// Print the certificate, never the key, or how clients are made to trust it
    Export(Export),
}

/// What is made.
#[derive(Debug, Args)]
struct Init {
    /// Where; it is made when it is not there
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Let it sign for this name, those below it, and nothing else; may be given several times
    #[arg(long, value_name = "SUFFIX")]
    name_constraint: Vec<String>,
    /// How long it is valid
    #[arg(long, value_name = "DAYS", default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_DAYS)))]
    days: u32,
}

/// What is printed.
#[derive(Debug, Args)]
struct Export {
    /// The process configuration, whose `intercept.certificate` is meant
    #[arg(long, env = "SLUICEGATE_CONFIG")]
    config: Option<PathBuf>,
    /// The certificate itself
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    certificate: Option<PathBuf>,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Pem)]
    format: Format,
    /// Together with the roots of this system, for clients that take one file of all roots
    #[arg(long)]
    bundle: bool,
    /// Where the certificate is for the clients; without it, where it is here
    #[arg(long, value_name = "PATH")]
    at: Option<String>,
    /// Where the bundle is for the clients: with it, `env` sets also the variables that replace all roots
    #[arg(long, value_name = "PATH")]
    bundle_at: Option<String>,
    /// Write it to a file that is not there yet
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The certificate in PEM
    Pem,
    /// The certificate in DER
    Der,
    /// Environment variables of clients, for a shell
    Env,
    /// Commands that make systems and clients trust it
    Commands,
}

impl Ca {
    /// Makes or prints.
    pub(super) fn run(self) -> anyhow::Result<u8> {
        match self.command {
            Command::Init(init) => init.run(),
            Command::Export(export) => export.run(),
        }
    }
}

impl Init {
    /// Makes it and says what comes next.
    fn run(self) -> anyhow::Result<u8> {
        let suffixes = create::suffixes(&self.name_constraint)?;
        let made = create::create(&self.directory, &suffixes, self.days)?;
        let (certificate, key) = (absolute(&made.certificate)?, absolute(&made.key)?);
        // A text in JSON is one in YAML too.
        let yaml = |text: &str| if is_plain(text) { text.to_owned() } else { json!(text).to_string() };
        let word = if is_plain(&certificate) { certificate.clone() } else { trust::shell(&certificate) };
        let scope = if suffixes.is_empty() {
            "It can sign for every host: whoever has the key can be any server to who trusts it.".to_owned()
        } else {
            let names: Vec<&str> = suffixes.iter().map(crate::addr::Name::as_str).collect();
            format!("It can sign for {}, and what is below; for no address.", names.join(", "))
        };
        super::print(&format!(
            "certificate  {certificate}\n\
             key          {key} (mode 0600; it stays with the gateway)\n\
             valid        {days} days\n\
             {scope}\n\
             \n\
             1. Give it to the gateway, in the file of --config:\n\
             \n\
             intercept:\n  certificate: {}\n  key: {}\n\
             \n\
             2. Have clients in sandboxes trust it:\n\
             \n\
             sluicegate ca export --certificate {word} --format commands\n\
             sluicegate ca export --certificate {word} --format env\n",
            yaml(&certificate),
            yaml(&key),
            days = self.days,
        ));
        Ok(0)
    }
}

impl Export {
    /// Prints it.
    fn run(self) -> anyhow::Result<u8> {
        if self.bundle && self.format != Format::Pem {
            super::complain("error: --bundle is a file in PEM: leave --format out\n");
            return Ok(super::USAGE);
        }
        if (self.at.is_some() || self.bundle_at.is_some()) && matches!(self.format, Format::Pem | Format::Der)
        {
            super::complain("error: --at and --bundle-at go with --format env and commands\n");
            return Ok(super::USAGE);
        }
        let path = match (&self.certificate, &self.config) {
            (Some(path), _) => path.clone(),
            (None, Some(file)) => match config(Some(file))? {
                Ok(config) => {
                    let intercept = config.intercept;
                    intercept.with_context(|| format!("{} has no `intercept`", file.display()))?.certificate
                }
                Err(problems) => {
                    super::complain(&problems);
                    return Ok(super::FAILED);
                }
            },
            (None, None) => {
                super::complain("error: which certificate? give --certificate, or --config\n");
                return Ok(super::USAGE);
            }
        };
        let certificate = authority::certificate(&path)?;
        let text = match self.format {
            Format::Pem if self.bundle => bundle(&certificate)?.into_bytes(),
            Format::Pem => trust::pem(&certificate).into_bytes(),
            Format::Der => certificate.to_vec(),
            Format::Env => trust::environment(&self.at(&path)?, self.bundle_at.as_deref()).into_bytes(),
            Format::Commands => trust::commands(&self.at(&path)?).into_bytes(),
        };
        let Some(out) = &self.out else {
            super::write(&text);
            return Ok(0);
        };
        // SECURITY: not over what is there, which may be the key.
        write_new(out, 0o644, &text).with_context(|| format!("cannot write {}", out.display()))?;
        Ok(0)
    }

    /// Where the certificate is for the clients.
    fn at(&self, path: &Path) -> anyhow::Result<String> {
        self.at.clone().map_or_else(|| absolute(path), Ok)
    }
}

/// Our certificate together with the roots of this system.
fn bundle(own: &CertificateDer<'_>) -> anyhow::Result<String> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        super::complain(&format!("warning: a root of this system cannot be read: {error}\n"));
    }
    if found.certs.is_empty() {
        bail!("this system has no roots, and a bundle without them is what --format pem prints");
    }
    Ok(trust::bundle(own, &found.certs))
}

/// Whether a path means the same without quotes, in YAML and in a shell.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte))
}

/// A path that holds wherever it is used.
fn absolute(path: &Path) -> anyhow::Result<String> {
    let whole = std::path::absolute(path)?;
    whole.into_os_string().into_string().map_err(|path| anyhow!("{} is not UTF-8", path.display()))
}
