//! `launchway lint`.

use clap::Args;
use launchway_lint::{Allow, Glob, Level, Limit, Policy, Report, Rule, lint, parse_bytes, to_json};
use launchway_release::{Survey, Surveyed, survey};
use launchway_transfer::{Places, Unpacked, image, unpacked};
use serde_json::{Value, json};

use super::Result;
use crate::failure::{Exit, Failure};
use crate::family::{NetworkArguments, parse_platform};
use crate::places;
use crate::report::text::{clean, count, size};
use crate::settings::Settings;
use crate::show_lint::{self, Style};
use crate::toolbox::{self, Builder};

/// Look for waste, secrets and traps in a finished image
///
/// Tells, layer by layer, what an image ships for nothing (package caches, files that are deleted later,
/// the same file twice), what it should not have (keys, tokens, files that everybody can change), and what
/// a volume will hide at run time, each with the instruction to blame and what to do. Exit code 1 when
/// something is found that is denied, or when the image is over a budget.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// A reference, oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:REFERENCE]
    #[arg(required_unless_present = "rules")]
    reference: Option<String>,
    /// The image for this platform [default: this machine's, else the first]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// The image it was built on, whose layers are not to blame [default: the first layer, when it
    /// holds an operating system]
    #[arg(long, value_name = "REFERENCE")]
    base: Option<String>,
    /// A path where something is mounted at run time, besides the image's volumes
    #[arg(long, value_name = "PATH")]
    mount: Vec<String>,
    /// A limit: wasted=SIZE, wasted=PERCENT% or size=SIZE (of the layers as they travel)
    #[arg(long, value_name = "NAME=LIMIT")]
    budget: Vec<String>,
    /// Refuse the image when this rule finds something; `warnings` stands for all that are warned of
    #[arg(long, value_name = "RULE")]
    deny: Vec<String>,
    /// Warn of what this rule finds
    #[arg(long, value_name = "RULE")]
    warn: Vec<String>,
    /// Pass over what this rule finds, everywhere or at paths that match a pattern
    #[arg(long, value_name = "RULE[:PATTERN]")]
    allow: Vec<String>,
    /// How many paths of a finding are shown; JSON has all of them
    #[arg(long, value_name = "NUMBER", default_value_t = 5)]
    paths: usize,
    /// List the rules with their levels
    #[arg(long)]
    rules: bool,
    #[command(flatten)]
    network: NetworkArguments,
}

const EXAMPLES: &str = "\
Examples:
  launchway lint ghcr.io/me/app:v1
  launchway lint oci:build/app --budget wasted=50MB --budget size=300MB
  launchway lint app:v1 --base debian:12 --mount /home/me/.config --deny warnings
  launchway lint app:v1 --allow secret-file:/etc/ssl/private --format json | jq .findings";

/// How wide a report is on no terminal.
const COLUMNS: usize = 110;

pub(crate) fn run(arguments: &Arguments, settings: &Settings) -> Result {
    if arguments.rules {
        list_rules(settings);
        return Ok(());
    }
    let policy = policy(arguments)?;
    let text = arguments.reference.as_deref().unwrap_or_default();
    let location = places::parse("REFERENCE", text)?;
    let base = arguments
        .base
        .as_deref()
        .map(|text| places::parse("--base", text))
        .transpose()?;
    let platform = arguments
        .platform
        .as_deref()
        .map(parse_platform)
        .transpose()?;
    let builder = Builder::open(settings)?;
    let reporter = toolbox::asking_reporter(settings);
    let client = toolbox::asking_client(settings, &arguments.network, &reporter)?;
    let places = Places::new(client);
    let failed = |error| places::failure(&error, places::exit_of_question(&error));
    let work = async {
        let opened = places.source(&location);
        let host = &settings.host_platform;
        let found = unpacked(&opened, platform.as_ref(), host, &builder.store).await?;
        let base = match &base {
            None => None,
            Some(base) => {
                let wanted = found.platform.as_ref();
                Some(image(&places.source(base), wanted, host).await?.1)
            }
        };
        Ok((found, base))
    };
    let (found, base_config) = toolbox::block_here(work)?.map_err(failed)?;
    reporter.finish();
    let inherited = match &arguments.base {
        None => None,
        Some(name) => Some(shared(&found, base_config.as_ref(), name)?),
    };
    let surveyed = survey(
        &builder.store,
        &Survey {
            config: &found.config,
            layers: &found.layers,
            sizes: &found.sizes,
            inherited,
            mounts: &arguments.mount,
        },
    )
    .map_err(|error| Failure::caused("cannot read the image's layers", &error))?;
    let report = lint(&surveyed.image, &policy);
    let name = location.to_string();
    if settings.json {
        let mut value = json!({
            "schema": "launchway.lint.v1",
            "reference": name,
            "digest": found.digest.to_string(),
            "platform": found.platform.as_ref().map(ToString::to_string),
            "read": surveyed.read,
            "passed-over": surveyed.passed_over,
        });
        if let (Value::Object(all), Value::Object(more)) = (&mut value, to_json(&report, &policy)) {
            all.extend(more);
        }
        super::print_json(&value);
    } else {
        let style = Style {
            colour: settings.colour_stdout,
            columns: columns(),
            paths: arguments.paths,
        };
        let platform = found.platform.as_ref().map(ToString::to_string);
        let mut text = format!(
            "{}  {}\n{}, {}, unpacked {} in {}\n\n",
            clean(&name),
            platform.unwrap_or_default(),
            found.digest,
            size(report.size),
            size(report.shipped),
            count(report.layers.len(), "layer", "layers"),
        );
        text.push_str(&told(&report, &style));
        super::print(&text);
    }
    for (allow, used) in policy.allows.iter().zip(&report.allowed) {
        if *used == 0 {
            let path = allow.path.as_ref().map_or("", |path| path.as_str());
            eprintln!("warning: --allow {} {path} allowed nothing", allow.rule);
        }
    }
    eprint!("{}", passed_over(&surveyed));
    if report.is_passed() {
        return Ok(());
    }
    Err(Failure::Message {
        message: format!("{} does not pass: {}", clean(&name), clean(&report.why())),
        causes: Vec::new(),
        help: None,
        exit: Exit::Failed,
    })
}

/// A report in full: the layers, the findings, the sums.
pub(super) fn told(report: &Report, style: &Style) -> String {
    let mut text = show_lint::layers(report, style);
    if !report.findings.is_empty() {
        text.push('\n');
        text.push_str(&show_lint::findings(report, style));
    }
    text.push_str(&format!("\n{}\n", show_lint::summary(report)));
    text
}

/// A warning about what was not read.
pub(super) fn passed_over(surveyed: &Surveyed) -> String {
    match surveyed.passed_over {
        0 => String::new(),
        number => format!(
            "warning: {} were not looked through for secrets, because there are so many\n",
            count(number, "file", "files")
        ),
    }
}

/// How many of an image's layers are those of its base.
fn shared(
    image: &Unpacked,
    base: Option<&launchway_oci::spec::ImageConfig>,
    name: &str,
) -> Result<usize> {
    let theirs = base.map_or(&[][..], |base| &base.rootfs.diff_ids);
    let ours = &image.config.rootfs.diff_ids;
    if theirs.is_empty() || !ours.starts_with(theirs) {
        return Err(Failure::usage(
            format!("--base {name}: the image was not built on it"),
            "name the very image that FROM stood for, best by its digest",
        ));
    }
    Ok(theirs.len())
}

fn policy(arguments: &Arguments) -> Result<Policy> {
    let mut policy = Policy::default();
    for (flag, level, texts) in [
        ("--warn", Level::Warn, &arguments.warn),
        ("--deny", Level::Deny, &arguments.deny),
    ] {
        for text in texts {
            if text == "warnings" && level == Level::Deny {
                policy.deny_warnings = true;
                continue;
            }
            policy.levels.insert(rule(flag, text)?, level);
        }
    }
    for text in &arguments.allow {
        let (name, path) = match text.split_once(':') {
            Some((name, path)) => (name, Some(Glob::new(path))),
            None => (text.as_str(), None),
        };
        policy.allows.push(Allow {
            rule: rule("--allow", name)?,
            path,
            reason: "allowed on the command line".to_owned(),
        });
    }
    for text in &arguments.budget {
        let wrong = |why: &str| {
            Failure::usage(
                format!("--budget {text}: {why}"),
                "write it as wasted=50MB, wasted=5% or size=300MB",
            )
        };
        match text.split_once('=') {
            Some(("wasted", limit)) => {
                let limit = Limit::parse(limit).map_err(|error| wrong(error.0))?;
                policy.budgets.wasted = Some(limit);
            }
            Some(("size", limit)) => {
                let limit = parse_bytes(limit).map_err(|error| wrong(error.0))?;
                policy.budgets.size = Some(limit);
            }
            _ => return Err(wrong("there is no such budget")),
        }
    }
    Ok(policy)
}

fn rule(flag: &str, name: &str) -> Result<Rule> {
    name.parse().map_err(|()| {
        let names = Rule::ALL.map(Rule::name);
        let help = match launchway_diagnostics::closest(name, names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`launchway lint --rules` lists them".to_owned(),
        };
        Failure::usage(format!("{flag} {name}: there is no such rule"), help)
    })
}

fn list_rules(settings: &Settings) {
    if settings.json {
        let rules = Rule::ALL.map(|rule| {
            json!({
                "rule": rule.name(),
                "level": rule.default_level().name(),
                "summary": rule.summary(),
            })
        });
        super::print_json(&json!({ "schema": "launchway.lint-rules.v1", "rules": rules }));
        return;
    }
    let lines = Rule::ALL.map(|rule| {
        format!(
            "{:<17} {:<5} {}\n",
            rule.name(),
            rule.default_level().name(),
            rule.summary()
        )
    });
    super::print(&lines.concat());
}

/// As wide as the terminal, within reason.
fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
    match size.map(|size| usize::from(size.ws_col)) {
        Some(columns) if columns > 0 => columns.clamp(60, 160),
        _ => COLUMNS,
    }
}
