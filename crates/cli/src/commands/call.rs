//! `--call` and `--check` of `launchway dockerfile build`: what can be told of a Dockerfile without
//! building it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use launchway_diagnostics::{Diagnostic, SourceMap, Span};
use launchway_dockerfile::{
    BuildInputs, CheckSettings, Dockerfile, Finding, Outline, OutlineNeed, is_stock_syntax,
    outline, targets,
};
use launchway_release::single::SingleBuild;
use launchway_release::{Puller, check_only};
use serde_json::{Value, json};

use super::Result;
use crate::failure::{Exit, Failure};
use crate::family::{NetworkArguments, warn};
use crate::report::text::{clean, pad, width};
use crate::settings::Settings;
use crate::toolbox::{self, Builder};

/// Build arguments that are meant for the builder.
const CHECK_ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";
const SYNTAX_ARGUMENT: &str = "BUILDKIT_SYNTAX";

/// What is asked for instead of a build.
pub(super) struct Call {
    method: Method,
    json: bool,
}

enum Method {
    Check,
    Outline,
    Targets,
}

impl Call {
    /// Nothing when a build is asked for.
    pub(super) fn parse(text: &str, check: bool, json: bool) -> Result<Option<Self>> {
        let wrong = |why: String| {
            Failure::usage(
                format!("--call {text}: {why}"),
                "write build, check, outline or targets, with `,format=json` for JSON",
            )
        };
        let mut fields = text.split(',');
        let name = fields.next().unwrap_or_default();
        let mut json = json;
        for field in fields {
            match field.split_once('=') {
                Some(("format", "json")) => json = true,
                Some(("format", "text")) => json = false,
                _ => return Err(wrong(format!("`{field}` is not known here"))),
            }
        }
        let name = name.strip_prefix("method=").unwrap_or(name);
        let method = match name {
            "build" if check => Method::Check,
            "build" => return Ok(None),
            "check" | "lint" => Method::Check,
            "outline" => Method::Outline,
            "targets" => Method::Targets,
            other => return Err(wrong(format!("`{other}` is no method"))),
        };
        Ok(Some(Self { method, json }))
    }

    /// Tells what is asked for. A check that finds something exits with 1.
    pub(super) fn run(
        &self,
        build: &SingleBuild,
        sources: &SourceMap,
        network: &NetworkArguments,
        settings: &Settings,
    ) -> Result {
        match self.method {
            Method::Check => self.check(build, sources, network, settings),
            Method::Outline => self.outline(build, sources),
            Method::Targets => {
                self.targets(&build.dockerfile, sources);
                Ok(())
            }
        }
    }

    fn check(
        &self,
        build: &SingleBuild,
        sources: &SourceMap,
        network: &NetworkArguments,
        settings: &Settings,
    ) -> Result {
        let [platform, ..] = build.platforms.as_slice() else {
            return Ok(());
        };
        let diagnosed = |problems| Failure::diagnosed(problems, sources.clone());
        let needed = build.stages(platform).map_err(diagnosed)?;
        // Without a target all stages are looked at, as buildx does.
        let all_stages = build.target.is_none();
        let builder = Builder::open(settings)?;
        let client = toolbox::client(settings, network, None, None)?;
        let puller = Puller::new(client, builder.store.clone());
        let cancellation = launchway_engine::Cancellation::default();
        let checked = toolbox::block_on(&cancellation, async {
            check_only(build, platform, &needed, all_stages, &puller).await
        })?;
        for (image, why) in &checked.unknown {
            eprintln!(
                "note: {image} cannot be asked, so variables are not checked where it is used: {why}"
            );
        }
        let findings = &checked.findings;
        if self.json {
            super::print_json(&json!({
                "warnings": findings.iter().map(|finding| warning(finding, sources)).collect::<Vec<_>>(),
                "sources": [{
                    "filename": name(build, sources),
                    "language": "Dockerfile",
                    "data": content(&build.dockerfile, sources),
                }],
            }));
        } else {
            let found: Vec<Diagnostic> = findings
                .iter()
                .map(|finding| finding.diagnostic(build.checks.error))
                .collect();
            warn(&found, sources, settings);
            super::print(&match findings.len() {
                0 => "nothing found\n".to_owned(),
                1 => "1 warning\n".to_owned(),
                many => format!("{many} warnings\n"),
            });
        }
        if findings.is_empty() {
            Ok(())
        } else {
            Err(Failure::Silent(Exit::Failed))
        }
    }

    fn outline(&self, build: &SingleBuild, sources: &SourceMap) -> Result {
        let [platform, ..] = build.platforms.as_slice() else {
            return Ok(());
        };
        let names = build.named.keys().cloned().collect();
        let inputs = BuildInputs {
            target: build.target.as_deref(),
            build_args: &build.build_args,
            platform,
            build_platform: &build.build_platform,
            named_contexts: &names,
        };
        let outline = outline(&build.dockerfile, &inputs)
            .map_err(|problems| Failure::diagnosed(problems, sources.clone()))?;
        if self.json {
            super::print_json(&outline_json(&outline, &build.dockerfile, sources));
        } else {
            super::print(&outline_text(&outline));
        }
        Ok(())
    }

    fn targets(&self, file: &Dockerfile, sources: &SourceMap) {
        let targets = targets(file);
        if self.json {
            let all = targets.iter().map(|target| {
                let mut value = json!({
                    "base": target.base,
                    "default": target.is_default,
                    "location": location(target.statement, sources),
                });
                set(&mut value, "name", target.name.as_deref());
                set(&mut value, "description", target.description.as_deref());
                set(&mut value, "platform", target.platform.as_deref());
                value
            });
            super::print_json(&json!({
                "targets": all.collect::<Vec<_>>(),
                "sources": [content(file, sources)],
            }));
            return;
        }
        let rows = targets.iter().map(|target| {
            let mark = if target.is_default { "(default)" } else { "" };
            let name = format!("{} {mark}", target.name.as_deref().unwrap_or_default());
            let description = target.description.clone().unwrap_or_default();
            [name.trim().to_owned(), description]
        });
        super::print(&table(["TARGET", "DESCRIPTION"], rows));
    }
}

/// Which checks are made: as the build argument says, or else the Dockerfile. The build argument
/// that names another language is refused, as the directive is.
pub(super) fn settings_of(
    file: &Dockerfile,
    build_args: &BTreeMap<String, String>,
) -> Result<CheckSettings> {
    if let Some(syntax) = build_args.get(SYNTAX_ARGUMENT)
        && !is_stock_syntax(syntax)
    {
        return Err(Failure::usage(
            format!("--build-arg {SYNTAX_ARGUMENT}={syntax} asks for another language"),
            "Launchway reads Dockerfiles itself and runs no frontend images: leave the argument out",
        ));
    }
    match build_args.get(CHECK_ARGUMENT) {
        None => Ok(CheckSettings::of(file)),
        Some(text) => CheckSettings::parse(text).map_err(|error| {
            Failure::usage(
                format!("--build-arg {CHECK_ARGUMENT}={text}: {error}"),
                "write for example skip=UndefinedVar,FromAsCasing;error=true",
            )
        }),
    }
}

fn name<'a>(build: &SingleBuild, sources: &'a SourceMap) -> &'a str {
    let stage = build.dockerfile.stages.first();
    stage.map_or("", |stage| sources.name(stage.span.source))
}

/// The Dockerfile as it is, in base64 as buildx has it.
fn content(file: &Dockerfile, sources: &SourceMap) -> String {
    let stage = file.stages.first();
    let text = stage.map_or("", |stage| sources.text(stage.span.source));
    STANDARD.encode(text)
}

/// A finding in the words of buildx, with our code and the exact place.
fn warning(finding: &Finding, sources: &SourceMap) -> Value {
    let place = sources.position(finding.place);
    let mut value = json!({
        "ruleName": finding.rule.name(),
        "code": finding.rule.code().0,
        "description": finding.rule.summary(),
        "detail": finding.message,
        "location": location(finding.statement, sources),
        "place": { "line": place.line, "column": place.column },
    });
    set(&mut value, "url", finding.rule.url().as_deref());
    value
}

fn set(value: &mut Value, key: &str, text: Option<&str>) {
    if let Some(text) = text {
        value[key] = text.into();
    }
}

/// The lines of a statement, each as a range of its own, as buildx writes them.
fn location(statement: Span, sources: &SourceMap) -> Value {
    let first = sources.position(statement).line;
    let text = &sources.text(statement.source)[statement.range()];
    let lines = first..=first + text.matches('\n').count();
    let range = |line: usize| json!({ "start": { "line": line }, "end": { "line": line } });
    json!({ "ranges": lines.map(range).collect::<Vec<_>>() })
}

fn outline_json(outline: &Outline, file: &Dockerfile, sources: &SourceMap) -> Value {
    let args = outline.args.iter().map(|arg| {
        let mut value = json!({ "name": arg.name, "location": location(arg.statement, sources) });
        set(&mut value, "description", arg.description.as_deref());
        set(&mut value, "value", arg.value.as_deref());
        value
    });
    let needs = |needs: &[OutlineNeed]| {
        let needs = needs.iter().map(|need| {
            json!({
                "name": need.id,
                "required": need.required,
                "location": location(need.statement, sources),
            })
        });
        needs.collect::<Vec<_>>()
    };
    let mut value = json!({
        "args": args.collect::<Vec<_>>(),
        "secrets": needs(&outline.secrets),
        "ssh": needs(&outline.agents),
        "sources": [content(file, sources)],
    });
    set(&mut value, "name", outline.name.as_deref());
    set(&mut value, "description", outline.description.as_deref());
    value
}

fn outline_text(outline: &Outline) -> String {
    let mut text = String::new();
    for (what, value) in [
        ("target", &outline.name),
        ("description", &outline.description),
    ] {
        if let Some(value) = value {
            text.push_str(&format!("{what}: {}\n", clean(value)));
        }
    }
    let args = outline.args.iter().map(|arg| {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        [arg.name.clone(), text(&arg.value), text(&arg.description)]
    });
    let needs = |needs: &[OutlineNeed]| {
        let needs = needs.iter().map(|need| {
            let required = if need.required { "true" } else { "" };
            [need.id.clone(), required.to_owned()]
        });
        needs.collect::<Vec<_>>().into_iter()
    };
    let tables = [
        table(["BUILD ARG", "VALUE", "DESCRIPTION"], args),
        table(["SECRET", "REQUIRED"], needs(&outline.secrets)),
        table(["SSH", "REQUIRED"], needs(&outline.agents)),
    ];
    for table in tables
        .iter()
        .filter(|table| table.matches('\n').count() > 1)
    {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(table);
    }
    text
}

/// Columns under their titles. What stands in a Dockerfile must not steer the terminal.
fn table<const N: usize>(titles: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut all = vec![titles.map(str::to_owned)];
    all.extend(rows.map(|row| row.map(|cell| clean(&cell))));
    let widths: Vec<usize> = (0..N)
        .map(|column| {
            let cells = all.iter().map(|row| width(&row[column]));
            cells.max().unwrap_or_default()
        })
        .collect();
    let mut text = String::new();
    for row in &all {
        let cells = row.iter().zip(&widths);
        let cells = cells.map(|(cell, width)| pad(cell, *width));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}
