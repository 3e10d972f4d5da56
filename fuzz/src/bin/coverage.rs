//! What the replay of the fuzz corpus reaches of `crates/wire`.
//!
//! Builds `tests/corpus.rs` with the compiler's counters, in a target folder of its own, runs
//! it, and lets LLVM's tools lay the counts over the source. Prints lines and regions per file,
//! then what was not reached. A region is a stretch of code that runs as one, such as an arm of
//! a `match` or the early return in a `?`; a line may hold several.
//!
//! The tools are those of the rustup component `llvm-tools` where it is there, else Debian's
//! [`PACKAGE`], which is installed if need be.

#![forbid(unsafe_code)]

use clap::Parser;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// The newest LLVM in Debian 12. It reads what this compiler's counters write (raw profile format
/// 10); the next older one there, `llvm-16`, does not.
const PACKAGE: &str = "llvm-19";

/// Where the code is that is counted.
const SOURCE: &str = "crates/wire/src";

/// How the replay is built. With one unit, all of the counted crate is linked; with several, a module
/// that nothing calls is left out, as if it had no code. The rest halves the time of the build.
const PROFILE: [&str; 3] = [
    "profile.dev.package.multibeam-wire.codegen-units=1",
    "profile.dev.package.'*'.opt-level=0",
    "profile.dev.debug='none'",
];

/// Counts what the replay of the fuzz corpus reaches of crates/wire.
#[derive(Parser)]
struct Args {
    /// Prints JSON instead of tables.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run() {
        Ok(report) if args.json => println!("{:#}", report.to_json()),
        Ok(report) => print!("{}", report.to_text()),
        Err(error) => {
            eprintln!("coverage: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn run() -> Result<Report, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let root = root.canonicalize().map_err(|error| format!("can't find {}: {error}", root.display()))?;
    let compiler = Compiler::ask()?;
    let tools = Tools::find_or_install(&compiler)?;
    let replay = Replay::build(&root, &compiler)?;
    let corpora = replay.corpora(&root)?;
    let raw = replay.run(&root)?;
    let (segments, lines) = tools.count(&raw, &replay.executable, &root.join(SOURCE), &compiler)?;
    let mut report = Report { compiler: compiler.label, tools: tools.label, corpora, files: BTreeMap::new() };
    for file in rust_files(&root.join(SOURCE))? {
        report.files.insert(relative(&file, &root), File::default());
    }
    report.add_regions(&segments, &root)?;
    report.add_lines(&lines, &root)?;
    if report.total().lines.total == 0 {
        return Err(format!("llvm-cov ({}) finds no counters of {SOURCE} in the replay", report.tools));
    }
    Ok(report)
}

/// The compiler that builds the replay.
struct Compiler {
    host: String,
    /// Where the component `llvm-tools` would be.
    tools: PathBuf,
    /// Its version and its LLVM's, for people.
    label: String,
}

impl Compiler {
    fn ask() -> Result<Self, String> {
        let version = stdout(Command::new("rustc").arg("-vV"))?;
        let field =
            |name: &str| version.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("?").trim();
        let label = format!("rustc {}, LLVM {}", field("release:"), field("LLVM version:"));
        let libraries = stdout(Command::new("rustc").args(["--print", "target-libdir"]))?;
        let tools = Path::new(libraries.trim()).with_file_name("bin");
        Ok(Self { host: field("host:").to_owned(), tools, label })
    }
}

/// `tests/corpus.rs`, built with counters.
struct Replay {
    executable: PathBuf,
    /// The target folder of this build.
    target: PathBuf,
}

impl Replay {
    fn build(root: &Path, compiler: &Compiler) -> Result<Self, String> {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let target = root.join(target).join("coverage");
        // Naming the host keeps the counters out of build scripts and macros.
        let messages = stdout(
            Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
                .current_dir(root)
                .env_remove("CARGO_ENCODED_RUSTFLAGS")
                .env("RUSTFLAGS", "-Cinstrument-coverage")
                .args(["test", "-p", "multibeam-fuzz", "--test", "corpus", "--no-run"])
                .args(["--message-format", "json-render-diagnostics", "--target", &compiler.host])
                .args(PROFILE.iter().flat_map(|setting| ["--config", setting]))
                .arg("--target-dir")
                .arg(&target)
                .stderr(Stdio::inherit()),
        )?;
        let executable = messages
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|message| message["target"]["name"] == "corpus")
            .find_map(|message| message["executable"].as_str().map(PathBuf::from));
        let executable = executable.ok_or("cargo built no test named corpus")?;
        Ok(Self { executable, target })
    }

    /// Files in each folder of the corpus.
    ///
    /// # Errors
    /// When a folder has no test with its name: its files would count for nothing.
    fn corpora(&self, root: &Path) -> Result<BTreeMap<String, usize>, String> {
        let tests = stdout(self.command(root).arg("--list"))?;
        let mut corpora = BTreeMap::new();
        for folder in entries(&root.join("fuzz/corpus"))?.iter().filter(|path| path.is_dir()) {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !tests.lines().any(|test| test.contains(&name)) {
                return Err(format!("fuzz/corpus/{name} is replayed by no test of fuzz/tests/corpus.rs"));
            }
            corpora.insert(name, entries(folder)?.len());
        }
        Ok(corpora)
    }

    /// Runs it, and says where its counts are.
    fn run(&self, root: &Path) -> Result<PathBuf, String> {
        let status = self
            .command(root)
            .stdout(std::io::stderr())
            .status()
            .map_err(|error| format!("can't start the replay: {error}"))?;
        if status.success() { Ok(self.raw()) } else { Err(format!("the replay failed: {status}")) }
    }

    fn command(&self, root: &Path) -> Command {
        let mut command = Command::new(&self.executable);
        command.current_dir(root.join("fuzz")).env("LLVM_PROFILE_FILE", self.raw());
        command
    }

    fn raw(&self) -> PathBuf {
        self.target.join("corpus.profraw")
    }
}

/// The two tools of LLVM that read counters.
struct Tools {
    profdata: PathBuf,
    cov: PathBuf,
    /// Their version, for people.
    label: String,
}

impl Tools {
    fn find_or_install(compiler: &Compiler) -> Result<Self, String> {
        if let Some(tools) = Self::find(compiler) {
            return Ok(tools);
        }
        eprintln!("coverage: no llvm-cov here: installing {PACKAGE}");
        let apt = |args: &[&str]| {
            let status = Command::new("apt-get").args(args).stdout(std::io::stderr()).status();
            status.is_ok_and(|status| status.success())
        };
        if apt(&["update"]) && apt(&["install", "--yes", "--no-install-recommends", PACKAGE]) {
            Self::find(compiler)
        } else {
            None
        }
        .ok_or_else(|| {
            format!(
                "no llvm-cov: run `rustup component add llvm-tools`, or as root of a Debian 12 or newer \
                 `apt-get install {PACKAGE}`"
            )
        })
    }

    fn find(compiler: &Compiler) -> Option<Self> {
        let suffix = PACKAGE.trim_start_matches("llvm");
        let component = |tool: &str| compiler.tools.join(tool);
        let package = |tool: &str| PathBuf::from(format!("{tool}{suffix}"));
        let component = (component("llvm-profdata"), component("llvm-cov"));
        let package = (package("llvm-profdata"), package("llvm-cov"));
        [component, package].into_iter().find_map(|(profdata, cov)| {
            let version = stdout(Command::new(&cov).arg("--version")).ok()?;
            stdout(Command::new(&profdata).args(["merge", "--help"])).ok()?;
            let label = version.lines().find(|line| line.contains("LLVM version"))?.trim().to_owned();
            Some(Self { profdata, cov, label })
        })
    }

    /// The counts of the files in `source`: as JSON with regions, and as lcov with lines.
    fn count(
        &self,
        raw: &Path,
        executable: &Path,
        source: &Path,
        compiler: &Compiler,
    ) -> Result<(String, String), String> {
        let misfit = |error| {
            let (tools, compiler) = (&self.label, &compiler.label);
            format!("{error}\n{tools} doesn't fit {compiler}: run `rustup component add llvm-tools`")
        };
        let profile = raw.with_extension("profdata");
        stdout(Command::new(&self.profdata).args(["merge", "-sparse", "-o"]).arg(&profile).arg(raw))
            .map_err(misfit)?;
        let export = |format: &str| {
            let mut command = Command::new(&self.cov);
            command.args(["export", "--skip-functions", "--format", format]).arg(executable);
            stdout(command.arg("--instr-profile").arg(&profile).arg(source)).map_err(misfit)
        };
        Ok((export("text")?, export("lcov")?))
    }
}

/// So many of so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Share {
    covered: u64,
    total: u64,
}

impl Share {
    fn percent(self) -> f64 {
        100.0 * self.covered as f64 / self.total as f64
    }

    fn to_text(self) -> String {
        if self.total == 0 {
            return "no code".to_owned();
        }
        format!("{}/{} {:5.1} %", self.covered, self.total, self.percent())
    }

    fn to_json(self) -> Value {
        json!({ "covered": self.covered, "total": self.total })
    }

    fn plus(self, other: Self) -> Self {
        Self { covered: self.covered + other.covered, total: self.total + other.total }
    }
}

/// What was reached of one file.
#[derive(Debug, Default, PartialEq, Eq)]
struct File {
    lines: Share,
    regions: Share,
    lines_missed: BTreeSet<u64>,
    /// Line and column, both from 1, where a region starts.
    regions_missed: BTreeSet<(u64, u64)>,
}

impl File {
    /// Missed regions that lie in a line which was reached.
    fn missed_in_part(&self) -> impl Iterator<Item = (u64, u64)> {
        self.regions_missed.iter().copied().filter(|(line, _)| !self.lines_missed.contains(line))
    }
}

/// What was reached of every file, by its path from the root of the repository.
struct Report {
    compiler: String,
    tools: String,
    corpora: BTreeMap<String, usize>,
    files: BTreeMap<String, File>,
}

impl Report {
    /// Takes what `llvm-cov export --format text` wrote.
    fn add_regions(&mut self, export: &str, root: &Path) -> Result<(), String> {
        let export: Value = serde_json::from_str(export)
            .map_err(|error| format!("can't read what llvm-cov wrote: {error}"))?;
        for found in export["data"][0]["files"].as_array().into_iter().flatten() {
            let name = found["filename"].as_str().unwrap_or_default();
            let file = self.files.entry(relative(Path::new(name), root)).or_default();
            let regions = &found["summary"]["regions"];
            let number = |name: &str| regions[name].as_u64().ok_or("llvm-cov gave no count of regions");
            file.regions = Share { covered: number("covered")?, total: number("count")? };
            for segment in found["segments"].as_array().into_iter().flatten() {
                // A segment: line, column, count, whether that counts, starts a region, is a gap.
                let starts = segment[3] == true && segment[4] == true && segment[5] == false;
                if let (true, Some(0), Some(line), Some(column)) =
                    (starts, segment[2].as_u64(), segment[0].as_u64(), segment[1].as_u64())
                {
                    file.regions_missed.insert((line, column));
                }
            }
        }
        Ok(())
    }

    /// Takes what `llvm-cov export --format lcov` wrote.
    fn add_lines(&mut self, export: &str, root: &Path) -> Result<(), String> {
        let mut name = String::new();
        for record in export.lines() {
            if let Some(path) = record.strip_prefix("SF:") {
                name = relative(Path::new(path), root);
            } else if let Some((line, count)) =
                record.strip_prefix("DA:").and_then(|record| record.split_once(','))
            {
                let number =
                    |text: &str| text.parse::<u64>().map_err(|_| format!("llvm-cov wrote {record:?}"));
                let file = self.files.entry(name.clone()).or_default();
                file.lines.total += 1;
                if number(count)? > 0 {
                    file.lines.covered += 1;
                } else {
                    file.lines_missed.insert(number(line)?);
                }
            }
        }
        Ok(())
    }

    fn total(&self) -> File {
        self.files.values().fold(File::default(), |sum, file| File {
            lines: sum.lines.plus(file.lines),
            regions: sum.regions.plus(file.regions),
            ..sum
        })
    }

    fn to_text(&self) -> String {
        let corpora: Vec<_> = self.corpora.iter().map(|(name, files)| format!("{name} ({files})")).collect();
        let mut text = format!("{}; {}\nreplayed: {}\n\n", self.compiler, self.tools, corpora.join(", "));
        let all = ("all".to_owned(), self.total());
        let width = self.files.keys().map(String::len).max().unwrap_or(0);
        let mut row = |name: &str, lines: &str, regions: &str| {
            let _ = writeln!(text, "{name:width$}  {lines:>16}  {regions:>16}");
        };
        row("", "lines", "regions");
        for (name, file) in self.files.iter().chain([(&all.0, &all.1)]) {
            row(name, &file.lines.to_text(), &file.regions.to_text());
        }
        text.push_str("\nlines not reached:\n");
        for (name, file) in self.files.iter().filter(|(_, file)| !file.lines_missed.is_empty()) {
            let _ = writeln!(text, "{name}: {}", ranges(&file.lines_missed));
        }
        text.push_str("\nnot reached inside a line that was, as line:column:\n");
        for (name, file) in &self.files {
            let places: Vec<_> =
                file.missed_in_part().map(|(line, column)| format!("{line}:{column}")).collect();
            if !places.is_empty() {
                let _ = writeln!(text, "{name}: {}", places.join(", "));
            }
        }
        text
    }

    fn to_json(&self) -> Value {
        let files = self.files.iter().map(|(name, file)| {
            json!({
                "file": name,
                "lines": file.lines.to_json(),
                "regions": file.regions.to_json(),
                "lines_missed": file.lines_missed,
                "regions_missed": file.regions_missed,
            })
        });
        let total = self.total();
        json!({
            "compiler": self.compiler,
            "tools": self.tools,
            "corpora": self.corpora,
            "files": files.collect::<Vec<_>>(),
            "lines": total.lines.to_json(),
            "regions": total.regions.to_json(),
        })
    }
}

/// `1-3, 7` for the lines 1, 2, 3 and 7.
fn ranges(lines: &BTreeSet<u64>) -> String {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for &line in lines {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == line => *last = line,
            _ => ranges.push((line, line)),
        }
    }
    let text = |(first, last)| if first == last { format!("{first}") } else { format!("{first}-{last}") };
    ranges.into_iter().map(text).collect::<Vec<_>>().join(", ")
}

/// What a command writes.
///
/// # Errors
/// Its complaint, when it fails, or says that counters and code are not of one build.
fn stdout(command: &mut Command) -> Result<String, String> {
    let name =
        Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("can't start {name}: {error}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || complaint.contains("mismatched data") {
        return Err(format!("{name} failed ({}) {}", output.status, complaint.trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for path in entries(folder)? {
        if path.is_dir() {
            files.append(&mut rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let listed = std::fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let listed = listed.map_err(|error| format!("can't list {}: {error}", folder.display()))?;
    Ok(listed.into_iter().map(|entry| entry.path()).collect())
}

fn relative(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_lines_are_one_range() {
        assert_eq!(ranges(&BTreeSet::from([7, 1, 2, 3, 9, 10])), "1-3, 7, 9-10");
        assert_eq!(ranges(&BTreeSet::new()), "");
    }

    #[test]
    fn a_report_joins_both_exports_and_keeps_files_without_code() {
        let lcov = "SF:/r/a.rs\nFNDA:0,f\nDA:3,5\nDA:4,0\nDA:5,12\nLF:3\nend_of_record\n";
        let regions = r#"{"data":[{"files":[{"filename":"/r/a.rs",
            "summary":{"regions":{"count":4,"covered":2}},
            "segments":[[3,1,5,true,true,false],[3,20,0,true,true,false],[4,1,0,true,true,false],
                        [4,9,0,true,false,false],[5,2,0,true,true,true],[5,9,0,false,false,false]]}]}]}"#;
        let files =
            BTreeMap::from([("a.rs".to_owned(), File::default()), ("b.rs".to_owned(), File::default())]);
        let mut report =
            Report { compiler: String::new(), tools: String::new(), corpora: BTreeMap::new(), files };
        report.add_regions(regions, Path::new("/r")).unwrap();
        report.add_lines(lcov, Path::new("/r")).unwrap();
        let file = &report.files["a.rs"];
        assert_eq!(file.lines, Share { covered: 2, total: 3 });
        assert_eq!(file.regions, Share { covered: 2, total: 4 });
        assert_eq!(file.lines_missed, BTreeSet::from([4]));
        assert_eq!(file.missed_in_part().collect::<Vec<_>>(), [(3, 20)]);
        let text = report.to_text();
        assert!(text.contains("b.rs") && text.contains("no code") && text.contains("2/3"), "{text}");
        assert_eq!(report.to_json()["lines"], json!({ "covered": 2, "total": 3 }));
    }
}
