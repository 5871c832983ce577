//! The native program; see `nexus::native`.

use std::process::ExitCode;

fn main() -> ExitCode {
    nexus::native::cli::main()
}
