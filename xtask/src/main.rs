//! What a developer of Launchway runs. `cargo xtask --help` lists it.
//!
//! Nothing here ships, and nothing that ships knows of it. The commands start the same programs a
//! person would start, and say on standard error which.

mod bench;
mod conform;
mod corpus;
mod debian;
mod demo;
mod example;
mod fences;
mod fuzz;
mod images;
mod launchway;
mod npm;
mod peers;
mod servers;
mod setup;
mod shell;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Set up, test, measure and show Launchway"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Release the example family to an embedded registry, then bump one version
    Demo(demo::Arguments),
    /// Set up what the tests need, and run them all
    Test(test::Arguments),
    /// Measure Launchway beside other builders and registry clients
    Bench(bench::Arguments),
    /// Feed the parsers with made-up input
    Fuzz(fuzz::Arguments),
    /// Check the rules that the compiler cannot: who may depend on whom, and house rules
    Fences,
    /// Build images as people write them with Launchway and with BuildKit, compare and start them
    Images(images::Arguments),
    /// Build the Dockerfiles of this project's corpus with Launchway and with BuildKit, and compare
    Corpus(corpus::Arguments),
    /// The same for a corpus of anybody
    Conform(conform::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Fences => fences::run(),
        Command::Images(arguments) => images::run(&arguments),
        Command::Corpus(arguments) => corpus::run(&arguments),
        Command::Conform(arguments) => conform::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            // As in launchway itself: 2 says that something has to be done first.
            let missing = error.downcast_ref::<setup::Missing>().is_some();
            ExitCode::from(if missing { 2 } else { 1 })
        }
    }
}
