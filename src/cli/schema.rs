//! `schema`: what each kind of file and record looks like.

use clap::{Args, ValueEnum};

use crate::{audit, schema};

/// Print a JSON Schema, for editors and other programs
#[derive(Debug, Args)]
pub(super) struct Schema {
    /// Of what
    #[arg(value_enum, default_value_t = Of::Policy)]
    of: Of,
}

/// What there is a schema of.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Of {
    /// Policy documents
    Policy,
    /// The process configuration
    Config,
    /// Audit records
    Audit,
}

impl Schema {
    /// Prints the schema.
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let schema = match self.of {
            Of::Policy => schema::policy(),
            Of::Config => schema::config(),
            Of::Audit => audit::schema(),
        };
        super::print(&format!("{}\n", serde_json::to_string_pretty(&schema)?));
        Ok(0)
    }
}
