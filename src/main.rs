//! The `programmatic-users` binary.

use std::process::ExitCode;

use programmatic_users::cli::{Cli, Command};
use programmatic_users::{command, controller, crds, server, shutdown, telemetry};

/// Many small objects come and go at once with each list: glibc keeps what was free between them.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::read(std::env::args_os());
    telemetry::init(cli.log_format);
    let result = match cli.command {
        Command::Verb(verb) => return command::run(verb).await,
        Command::Controller(args) => {
            let listening = |address| println!("listening on http://{address}");
            controller::run(args.into(), shutdown::signal(), listening)
                .await
                .map_err(|e| e.to_string())
        }
        Command::Platform(args) => args.run().await,
        Command::Backup(args) => server::backup(&args.data, &args.to)
            .await
            .map(|()| println!("{} is a copy of {}", args.to.display(), args.data.display()))
            .map_err(|e| e.to_string()),
        Command::Restore(args) => server::restore(&args.from, &args.data)
            .await
            .map(|()| println!("{} has what {} has", args.data.display(), args.from.display()))
            .map_err(|e| e.to_string()),
        Command::RecoverAdmin(args) => args.run().await,
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
