//! The `programmatic-users` binary.

use std::process::ExitCode;

use clap::Parser as _;
use programmatic_users::cli::{Cli, Command};
use programmatic_users::server::{self, Made};
use programmatic_users::{controller, crds, shutdown, telemetry};

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry::init(cli.log_format);
    let result = match cli.command {
        Command::Controller(args) => {
            let listening = |address| println!("listening on http://{address}");
            controller::run(args.into(), shutdown::signal(), listening)
                .await
                .map_err(|e| e.to_string())
        }
        Command::Platform(args) => match args.into_config() {
            Ok(config) => server::run(config, shutdown::signal(), announce)
                .await
                .map_err(|e| e.to_string()),
            Err(message) => Err(message),
        },
        Command::Crds(args) => match args.dir {
            Some(dir) => crds::write(&dir).map_err(|e| e.to_string()),
            None => crds::stream()
                .map(|text| print!("{text}"))
                .map_err(|e| e.to_string()),
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Says where the platform is, and shows once what the first start made.
#[expect(clippy::needless_pass_by_value, reason = "what was shown is wiped")]
fn announce(address: std::net::SocketAddr, made: Made) {
    if let Some(password) = &made.password {
        println!("admin password (shown once): {}", password.as_str());
    }
    if let Some(token) = &made.token {
        println!("admin token (shown once): {}", token.as_str());
    }
    println!("listening on http://{address}");
}
