//! Where package managers keep what they will not need again.

/// A kind of cache.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cache {
    pub(crate) what: &'static str,
    pub(crate) help: &'static str,
}

struct Place {
    /// Names of directories one after the other, at the root when it starts with `/`.
    path: &'static str,
    /// What the file's name ends with; anything when empty.
    end: &'static str,
    cache: &'static Cache,
}

const fn place(path: &'static str, end: &'static str, cache: &'static Cache) -> Place {
    Place { path, end, cache }
}

macro_rules! caches {
    ($($name:ident = $what:literal, $help:literal;)*) => {
        $(static $name: Cache = Cache { what: $what, help: $help };)*
    };
}

caches! {
    APT_LISTS = "package lists of apt",
        "end the same RUN with `&& rm -rf /var/lib/apt/lists/*`, or mount a cache: RUN --mount=type=cache,target=/var/lib/apt/lists,sharing=locked";
    APT_ARCHIVES = "the cache of apt",
        "end the same RUN with `&& apt-get clean`, or mount a cache: RUN --mount=type=cache,target=/var/cache/apt,sharing=locked";
    APK = "the cache of apk",
        "install with `apk add --no-cache`";
    DNF = "the cache of dnf or yum",
        "end the same RUN with `&& dnf clean all`, or mount a cache: RUN --mount=type=cache,target=/var/cache/dnf,sharing=locked";
    ZYPPER = "the cache of zypper",
        "end the same RUN with `&& zypper clean --all`";
    PACMAN = "packages that pacman downloaded",
        "end the same RUN with `&& pacman -Scc --noconfirm`";
    NPM = "the cache of npm",
        "mount a cache: RUN --mount=type=cache,target=/root/.npm (the npm folder of the user who installs), or end the same RUN with `&& npm cache clean --force`";
    YARN = "the cache of Yarn",
        "mount a cache: RUN --mount=type=cache,target=/usr/local/share/.cache/yarn (where `yarn cache dir` points), or end the same RUN with `&& yarn cache clean`";
    PNPM = "the store of pnpm",
        "mount a cache over the store: RUN --mount=type=cache,target=/root/.local/share/pnpm/store (where `pnpm store path` points)";
    BUN = "the cache of Bun",
        "mount a cache: RUN --mount=type=cache,target=/root/.bun/install/cache";
    NODE_GYP = "headers that node-gyp downloaded",
        "mount a cache: RUN --mount=type=cache,target=HOME/.cache/node-gyp (the home of whoever installs)";
    PIP = "the cache of pip",
        "install with `pip install --no-cache-dir`, or mount a cache: RUN --mount=type=cache,target=HOME/.cache/pip (the home of whoever installs)";
    UV = "the cache of uv",
        "install with `uv … --no-cache`, or mount a cache: RUN --mount=type=cache,target=HOME/.cache/uv (the home of whoever installs)";
    POETRY = "the cache of Poetry",
        "mount a cache: RUN --mount=type=cache,target=HOME/.cache/pypoetry (the home of whoever installs)";
    CONDA = "packages that conda downloaded",
        "end the same RUN with `&& conda clean --all --yes`";
    CARGO = "the registry of Cargo",
        "mount caches while building: RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/usr/local/cargo/git, or build in a stage of its own and COPY the program out of it";
    GO_BUILD = "the build cache of Go",
        "mount a cache: RUN --mount=type=cache,target=HOME/.cache/go-build (the home of whoever installs), or build in a stage of its own";
    GO_MODULES = "modules that Go downloaded",
        "mount a cache: RUN --mount=type=cache,target=/go/pkg/mod, or build in a stage of its own";
    COMPOSER = "the cache of Composer",
        "mount a cache: RUN --mount=type=cache,target=/root/.composer/cache, or install with `composer install --no-cache`";
    GEM = "gems as they were downloaded",
        "end the same RUN with `&& rm -rf \"$(gem env gemdir)\"/cache/*`, or install in a stage of its own";
    MAVEN = "the local repository of Maven",
        "mount a cache: RUN --mount=type=cache,target=/root/.m2, or build in a stage of its own";
    GRADLE = "the caches of Gradle",
        "mount a cache: RUN --mount=type=cache,target=/root/.gradle, or build in a stage of its own";
    NUGET = "packages that NuGet downloaded",
        "mount a cache: RUN --mount=type=cache,target=/root/.nuget/packages, or build in a stage of its own";
    CCACHE = "the cache of ccache",
        "mount a cache: RUN --mount=type=cache,target=HOME/.cache/ccache (the home of whoever installs)";
}

const PLACES: &[Place] = &[
    place("/var/lib/apt/lists", "", &APT_LISTS),
    place("/var/cache/apt", "", &APT_ARCHIVES),
    place("/var/cache/apk", "", &APK),
    place("/etc/apk/cache", "", &APK),
    place("/var/cache/dnf", "", &DNF),
    place("/var/cache/libdnf5", "", &DNF),
    place("/var/cache/yum", "", &DNF),
    place("/var/cache/zypp", "", &ZYPPER),
    place("/var/cache/pacman/pkg", "", &PACMAN),
    place(".npm/_cacache", "", &NPM),
    place(".npm/_logs", "", &NPM),
    place(".npm/_npx", "", &NPM),
    place(".cache/yarn", "", &YARN),
    place(".yarn/berry/cache", "", &YARN),
    place("usr/local/share/.cache", "", &YARN),
    place(".local/share/pnpm/store", "", &PNPM),
    place(".pnpm-store", "", &PNPM),
    place(".cache/pnpm", "", &PNPM),
    place(".bun/install/cache", "", &BUN),
    place(".cache/node-gyp", "", &NODE_GYP),
    place(".node-gyp", "", &NODE_GYP),
    place(".cache/pip", "", &PIP),
    place(".cache/uv", "", &UV),
    place(".cache/pypoetry", "", &POETRY),
    place("conda/pkgs", "", &CONDA),
    place("miniconda3/pkgs", "", &CONDA),
    place("miniforge3/pkgs", "", &CONDA),
    place("micromamba/pkgs", "", &CONDA),
    place(".cargo/registry", "", &CARGO),
    place(".cargo/git", "", &CARGO),
    place("cargo/registry", "", &CARGO),
    place("cargo/git", "", &CARGO),
    place(".cache/go-build", "", &GO_BUILD),
    place("go/pkg/mod", "", &GO_MODULES),
    place(".composer/cache", "", &COMPOSER),
    place(".cache/composer", "", &COMPOSER),
    place("cache", ".gem", &GEM),
    place(".m2/repository", "", &MAVEN),
    place(".gradle/caches", "", &GRADLE),
    place(".gradle/wrapper/dists", "", &GRADLE),
    place(".nuget/packages", "", &NUGET),
    place(".cache/ccache", "", &CCACHE),
    place(".ccache", "", &CCACHE),
];

/// The cache that a file belongs to.
pub(crate) fn cache_of(path: &[u8]) -> Option<&'static Cache> {
    let rooted = [b"/", path].concat();
    let name_at = rooted.iter().rposition(|&byte| byte == b'/')?;
    let folder = &rooted[..=name_at];
    PLACES
        .iter()
        .find(|place| rooted.ends_with(place.end.as_bytes()) && is_in(folder, place.path))
        .map(|place| place.cache)
}

/// Whether a folder (with `/` at both ends) is this one or below it.
fn is_in(folder: &[u8], path: &str) -> bool {
    if path.starts_with('/') {
        return folder
            .strip_prefix(path.as_bytes())
            .is_some_and(|rest| rest.starts_with(b"/"));
    }
    let whole = [b"/", path.as_bytes(), b"/"].concat();
    folder.windows(whole.len()).any(|part| part == whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_are_known_by_their_places() {
        for (path, want) in [
            ("var/lib/apt/lists/host_dists_Packages", Some(&APT_LISTS)),
            ("var/cache/apt/archives/x_1_amd64.deb", Some(&APT_ARCHIVES)),
            ("var/cache/apt/pkgcache.bin", Some(&APT_ARCHIVES)),
            ("srv/var/lib/apt/lists/x", None),
            ("var/lib/apt/extended_states", None),
            ("var/lib/dpkg/status", None),
            ("var/cache/apk/APKINDEX.1.tar.gz", Some(&APK)),
            ("lib/apk/db/installed", None),
            ("var/cache/dnf/a/repodata/x.xml.gz", Some(&DNF)),
            ("root/.npm/_cacache/content-v2/sha512/a", Some(&NPM)),
            ("home/me/.npm/_logs/1.log", Some(&NPM)),
            ("app/node_modules/x/index.js", None),
            ("usr/local/share/.cache/yarn/v6/x", Some(&YARN)),
            ("root/.local/share/pnpm/store/v3/files/00/a", Some(&PNPM)),
            ("root/.local/share/pnpm/global/5/x", None),
            ("root/.cache/pip/http-v2/0/x", Some(&PIP)),
            ("root/.cache/uv/archive-v0/x", Some(&UV)),
            ("root/.cache/ms-playwright/chromium/x", None),
            ("opt/conda/pkgs/x.conda", Some(&CONDA)),
            ("opt/conda/lib/x", None),
            ("usr/local/cargo/registry/cache/x.crate", Some(&CARGO)),
            ("usr/local/cargo/bin/cargo", None),
            ("go/pkg/mod/cache/download/x.zip", Some(&GO_MODULES)),
            ("usr/local/go/pkg/tool/x", None),
            ("root/.cache/go-build/00/x", Some(&GO_BUILD)),
            ("usr/local/bundle/cache/rack-3.gem", Some(&GEM)),
            ("usr/local/bundle/gems/rack-3/lib/rack.rb", None),
            ("root/.m2/repository/org/x.jar", Some(&MAVEN)),
            ("root/.gradle/caches/modules-2/x", Some(&GRADLE)),
        ] {
            assert_eq!(cache_of(path.as_bytes()), want, "{path}");
        }
    }
}
