//! `cargo xtask bench`: Launchway beside other people's tools, with the same work on the same machine.

mod builds;
mod contestants;
mod family;
mod registry;

use anyhow::Result;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// The example's four variants: cold, after a version bump, and with nothing to do
    Family(family::Arguments),
    /// The native engine beside BuildKit and buildah: steps, stages, many files, a large one
    Builds(builds::Arguments),
    /// The registry client and the embedded registry: probes, copies, pushes, listings, throughput
    Registry(registry::Arguments),
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.what {
        What::Family(arguments) => family::run(arguments),
        What::Builds(arguments) => builds::run(arguments),
        What::Registry(arguments) => registry::run(arguments),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_in_the_middle() {
        for (values, expected) in [
            (vec![3.0], 3.0),
            (vec![3.0, 1.0], 2.0),
            (vec![9.0, 1.0, 2.0], 2.0),
            (vec![4.0, 1.0, 3.0, 2.0], 2.5),
        ] {
            assert!((median(values) - expected).abs() < 1e-9);
        }
    }
}
