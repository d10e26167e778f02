//! The `programmatic-users` binary.

use std::process::ExitCode;

use clap::Parser as _;
use programmatic_users::cli::{Cli, Command, PlatformArgs};
use programmatic_users::server::Platform;
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
        Command::Platform(args) => platform(args).await,
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

/// Runs the platform. What the first start made up is shown once, here.
async fn platform(args: PlatformArgs) -> Result<(), String> {
    let mut platform = Platform::bind(args.into_config()?)
        .await
        .map_err(|e| e.to_string())?;
    if let Some(first) = platform.take_first_start() {
        if let Some(password) = &first.admin_password {
            println!(
                "password of {} (shown once): {}",
                first.admin_email,
                password.expose()
            );
        }
        if let Some(token) = &first.admin_token {
            println!("admin token (shown once): {}", token.expose());
        }
    }
    println!("listening on http://{}", platform.address());
    platform
        .serve(shutdown::signal().cancelled_owned())
        .await
        .map_err(|e| e.to_string())
}
