//! What `lint` tables come to, and what is said about wrong ones.

use launchway_diagnostics::SourceMap;
use launchway_lint::{Level, Limit, Rule};
use launchway_manifest::{Family, parse};

const HEAD: &str = r#"[family]
name = "f"
platforms = ["linux/amd64", "linux/arm64"]
registries = ["docker.io/someone"]
[image.base]
dockerfile = "Dockerfile"
repository = "f"
runtime-mounts = ["/data"]
[image.app]
from = "base"
dockerfile = "Dockerfile"
repository = "app"
"#;

fn read(more: &str) -> (Option<Family>, Vec<String>) {
    let mut sources = SourceMap::new();
    let text = format!("{HEAD}{more}");
    let parsed = parse(sources.add("launchway.toml", text.as_str()), &text);
    let problems = parsed.diagnostics.iter().map(|problem| {
        let marked = problem
            .labels
            .first()
            .and_then(|label| text.get(label.span.range()));
        format!(
            "{} {} | {}",
            problem.code,
            problem.message,
            marked.unwrap_or("")
        )
    });
    (parsed.family, problems.collect())
}

#[test]
fn an_image_own_word_wins_and_lists_add_up() {
    let family = read("");
    let family = family.0.unwrap();
    let app = |family: &Family, platform: &str| {
        let app = family.image(&"app".parse().unwrap()).unwrap().clone();
        family.lint_policy(&app, &platform.parse().unwrap())
    };
    assert_eq!(app(&family, "linux/amd64"), None);

    let (family, problems) = read(
        r#"runtime-mounts = ["/srv/x", "/data"]
[lint]
wasted = "5%"
size = "1GB"
rules = { setuid = "warn", leftovers = "deny" }
[[lint.allow]]
rule = "setuid"
reason = "why"
[image.app.lint]
wasted = "10MB"
platform-size = { "linux/arm64" = "2GB" }
rules = { setuid = "deny" }
[[image.app.lint.allow]]
rule = "secret-file"
path = "/etc/**"
reason = "a test's"
"#,
    );
    assert_eq!(problems, [""; 0]);
    let family = family.unwrap();
    let policy = app(&family, "linux/arm64").unwrap();
    assert_eq!(policy.budgets.wasted, Some(Limit::Bytes(10_000_000)));
    assert_eq!(policy.budgets.size, Some(2_000_000_000));
    assert_eq!(policy.levels[&Rule::Setuid], Level::Deny);
    assert_eq!(policy.levels[&Rule::Leftovers], Level::Deny);
    assert_eq!(policy.allows.len(), 2);
    let amd64 = app(&family, "linux/amd64").unwrap();
    assert_eq!(amd64.budgets.size, Some(1_000_000_000));
    let image = family.image(&"app".parse().unwrap()).unwrap();
    assert_eq!(family.runtime_mounts(image), ["/srv/x", "/data"]);
}

#[test]
fn wrong_tables_are_told_with_their_place() {
    let check = |more: &str, want: &str| {
        let (family, problems) = read(more);
        assert_eq!(problems, [want]);
        assert!(family.is_none());
    };
    check(
        "[lint]\nwasted = \"lots\"\n",
        "LW0105 `wasted` is no size: \"lots\" | \"lots\"",
    );
    check(
        "[lint]\nsize = \"5%\"\n",
        "LW0105 `size` is no size: \"5%\" | \"5%\"",
    );
    check(
        "[lint.platform-size]\narm64 = \"5MB\"\n",
        "LW0120 \"arm64\" is not a platform to build for | arm64",
    );
    check(
        "[lint.rules]\nsetuids = \"deny\"\n",
        "LW0101 unknown key `setuids` | setuids",
    );
    check(
        "[[lint.allow]]\nrule = \"setuid\"\n",
        "LW0103 `reason` is missing | [[lint.allow]]",
    );
    check(
        "runtime-mounts = [\"data\"]\n",
        "LW0105 \"data\" is not a place to mount something | \"data\"",
    );
    check(
        "runtime-mounts = [\"/\"]\n",
        "LW0105 nothing can be mounted over the whole image | \"/\"",
    );
    check(
        "runtime-mounts = [\"/a\", \"/a\"]\n",
        "LW0107 `/a` is repeated | \"/a\"",
    );
}
