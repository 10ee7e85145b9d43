//! The command line of Sluicegate; everything behind it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    sluicegate::cli::main()
}
