//! Words in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    kimgate::cli::main()
}
