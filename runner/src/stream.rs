//! `loom-stream` and `bedrock stream`: the command line over [`loom_bridge`].
//!
//! Without `--npz` the call is that of the original bridge's binary: a JSON document on standard
//! input, the same answer, exit codes and channels, the same file. With `--npz` weights come as
//! arrays by role in the planet's own layout and never pass through text.

use std::ffi::OsString;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, ValueEnum};
use loom_bridge::request::Envelope;
use loom_bridge::{Answer, ArrayOptions, Error, LiveModel, Opener, Options, Source, Stored, cpu, serve, serve_arrays};
use loom_core::{Numerics, file};

use crate::places::complain;
use crate::stages::manifest::{self, Manifest, ParseError, Unknown, unknown};
use crate::values::{DtypeArg, dtype, numerics};

/// Makes an `.entity` of a live model, runs it, and answers with JSON.
///
/// Reads one JSON document from standard input: the envelope with the layer stream of a bedrock.
/// With --npz, weights are arrays in a file and the manifest says what they belong to.
/// Exit status: 0 done, 1 refused (a message as JSON on standard output, or, where the document
/// itself cannot be read or a number is not finite, as text on standard error), 2 unknown option.
#[derive(Debug, Parser)]
#[command(name = "loom-stream", version, max_term_width = 100)]
struct Call {
    #[command(flatten)]
    args: StreamArgs,
}

/// The options of a call.
#[derive(Clone, Debug, Default, Args)]
pub struct StreamArgs {
    /// The bedrock, where the envelope names none.
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    bedrock: String,
    /// Base of python/BEDROCK/models and python/BEDROCK/fixtures, where the envelope names none.
    #[arg(long, value_name = "DIR", default_value = "", hide_default_value = true)]
    root: String,
    /// Where files go: DIR/PLANET/MODEL/MODEL.stream.entity.
    #[arg(long, value_name = "DIR", default_value = "", hide_default_value = true)]
    models_dir: String,
    /// Where fixtures lie.
    #[arg(long, value_name = "DIR", default_value = "", hide_default_value = true)]
    fixtures_dir: String,
    /// Name of the fixture: NAME.npz in the folder of fixtures.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    fixture_version: String,
    /// The file to write; of streams on standard input, dense alone honours it, as the original.
    #[arg(long, value_name = "FILE", default_value = "", hide_default_value = true)]
    output: String,
    /// Write the file and run nothing.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true",
        hide_default_value = true, value_name = "BOOL", hide_possible_values = true)]
    skip_infer: bool,
    /// Take weights from arrays `PATH.ROLE`, the path being that of a layer, in the planet's own layout in place of a
    /// document on standard input.
    #[arg(long, value_name = "FILE", requires = "manifest")]
    npz: Option<PathBuf>,
    /// What the arrays belong to: a manifest in YAML with --model, or one model in JSON.
    #[arg(long, value_name = "FILE", requires = "npz")]
    manifest: Option<PathBuf>,
    /// The model of the manifest.
    #[arg(long, value_name = "ID", requires = "npz")]
    model: Option<String>,
    /// The planet whose layout the arrays have.
    #[arg(long, value_name = "ID", requires = "npz")]
    planet: Option<String>,
    /// The arrays that the model is fed, by the names that the manifest gives them.
    #[arg(long, value_name = "FILE", requires = "npz")]
    fixture: Option<PathBuf>,
    /// Store weights in this dtype, and run with them.
    #[arg(long, value_name = "DTYPE", value_parser = dtype)]
    dtype: Option<DtypeArg>,
    /// Numerics profile of the dtype [default: loom in version 1, standard in version 2].
    #[arg(long, value_name = "PROFILE", value_parser = numerics)]
    numerics: Option<Numerics>,
    /// Version of the file.
    #[arg(long, value_enum, default_value_t = Version::One)]
    entity_version: Version,
    /// Where the model is run; gpu is served by the program bedrock beside loom-stream.
    #[arg(long, value_enum, default_value_t = Backend::Cpu)]
    backend: Backend,
    #[arg(hide = true)]
    ignored: Vec<String>,
}

/// A version of `.entity`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Version {
    /// What the original reads.
    #[default]
    #[value(name = "1")]
    One,
    /// Ours: checked by digests, both numerics profiles.
    #[value(name = "2")]
    Two,
}

/// Where a model is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Backend {
    /// The processor.
    #[default]
    Cpu,
    /// The first GPU.
    Gpu,
}

/// Why a call is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Bridge(#[from] Error),
    #[error(transparent)]
    Manifest(#[from] ParseError),
    #[error("{path}: {error}")]
    Read { path: PathBuf, error: std::io::Error },
    #[error("{path}: {error}")]
    Json { path: PathBuf, error: serde_json::Error },
    #[error("--model names the model of the manifest")]
    NoModel,
    #[error("--planet names the planet whose layout the arrays have")]
    NoPlanet,
    #[error(transparent)]
    Unknown(#[from] Unknown),
}

/// The most that is read of one model in JSON.
const MODEL_CAP: u64 = 1 << 26;

/// Runs `loom-stream` with these arguments, the program's name first.
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    // The original's flags have one dash or two.
    let long = |arg: OsString| match arg.to_str() {
        Some(text) if text.len() > 2 && text.starts_with('-') && !text.starts_with("--") => format!("-{text}").into(),
        _ => arg,
    };
    // An internal fault is told in one line and ends as the original's do.
    std::panic::set_hook(Box::new(|info| {
        complain(&format!("loom-stream: internal error, please report it: {info}"));
    }));
    let args: Vec<OsString> =
        args.into_iter().enumerate().map(|(i, arg)| if i == 0 { arg } else { long(arg) }).collect();
    let call = match args.len() {
        // A bridge's call has none, and is short enough for a parser's start to show.
        0 | 1 => Ok(StreamArgs::default()),
        _ => Call::command()
            .try_get_matches_from(&args)
            .and_then(|matches| Call::from_arg_matches(&matches).map(|call| call.args)),
    };
    match call {
        Ok(call) if call.backend == Backend::Gpu => run_by_bedrock(&args[1..]),
        Ok(call) => match std::panic::catch_unwind(|| run(&call, cpu)) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(_) => ExitCode::from(2),
        },
        Err(error) => {
            complain(&error.render().to_string());
            ExitCode::from(if error.use_stderr() { 2 } else { 0 })
        }
    }
}

/// Runs `bedrock stream` in place of this program: the code of GPUs is not in `loom-stream`, whose start counts.
fn run_by_bedrock(args: &[OsString]) -> ExitCode {
    let bedrock =
        std::env::current_exe().map(|own| own.with_file_name(format!("bedrock{}", std::env::consts::EXE_SUFFIX)));
    let ended = bedrock.as_ref().map_err(ToString::to_string).and_then(|bedrock| {
        let mut command = std::process::Command::new(bedrock);
        command.arg("stream").args(args);
        // Where a program can become another one, signals and the exit status are that one's.
        #[cfg(unix)]
        let ended = Err::<std::process::ExitStatus, _>(std::os::unix::process::CommandExt::exec(&mut command));
        #[cfg(not(unix))]
        let ended = command.status();
        ended.map_err(|error| format!("{}: {error}", bedrock.display()))
    });
    match ended {
        Ok(ended) => ended.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::from(2), ExitCode::from),
        Err(what) => {
            complain(&format!("loom-stream: --backend gpu is served by the program bedrock beside this one: {what}"));
            ExitCode::FAILURE
        }
    }
}

/// Serves one call, whose answer goes to standard output, and says whether it was served. A network
/// runs on what `open` opens.
#[must_use]
pub fn run(args: &StreamArgs, open: Opener) -> bool {
    let served = match &args.npz {
        Some(arrays) => {
            let served = |model| serve_arrays(&model, Source::Npz(arrays), args.array_options(), open);
            args.model().and_then(|model| Ok(served(model)?))
        }
        None => match serve(std::io::stdin().lock(), &args.options(), open) {
            Err(error) if error.is_of_document() => {
                complain(&format!("loom-stream: {error}"));
                return false;
            }
            served => served.map_err(Refusal::from),
        },
    };
    let is_served = served.is_ok();
    let answer = served.unwrap_or_else(|error| Answer::refused(&error));
    let mut out = BufWriter::with_capacity(1 << 14, std::io::stdout().lock());
    if let Err(error) = answer.write(&mut out).and_then(|()| out.flush()) {
        complain(&format!("loom-stream: cannot write the answer: {error}"));
        return false;
    }
    is_served
}

impl StreamArgs {
    /// What opens the backend of the call.
    #[must_use]
    pub fn opener(&self) -> Opener {
        match self.backend {
            Backend::Cpu => cpu,
            Backend::Gpu => gpu,
        }
    }

    fn options(&self) -> Options {
        let envelope = Envelope {
            bedrock: self.bedrock.clone(),
            root: self.root.clone(),
            models_dir: self.models_dir.clone(),
            fixtures_dir: self.fixtures_dir.clone(),
            fixture_version: self.fixture_version.clone(),
            output_path: self.output.clone(),
        };
        Options { envelope, skip_infer: self.skip_infer, stored: self.stored() }
    }

    fn array_options(&self) -> ArrayOptions<'_> {
        ArrayOptions {
            fixture: self.fixture.as_deref().map(Source::Npz),
            skip_infer: self.skip_infer,
            output: &self.output,
            models_dir: &self.models_dir,
            stored: self.stored(),
        }
    }

    fn stored(&self) -> Stored {
        let version = match self.entity_version {
            Version::One => loom_bridge::Version::One,
            Version::Two => loom_bridge::Version::Two,
        };
        Stored { dtype: self.dtype.and_then(DtypeArg::one), numerics: self.numerics, version }
    }

    /// The model that `--manifest` and `--model` name.
    fn model(&self) -> Result<LiveModel, Refusal> {
        let path = self.manifest.as_deref().unwrap_or(Path::new(""));
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = file::read_text(path, MODEL_CAP);
            let text = text.map_err(|error| Refusal::Read { path: path.into(), error })?;
            return serde_json::from_str(&text).map_err(|error| Refusal::Json { path: path.into(), error });
        }
        self.model_of(&manifest::parse(path)?)
    }

    fn model_of(&self, manifest: &Manifest) -> Result<LiveModel, Refusal> {
        let ids = || manifest.models.iter().map(manifest::Model::id);
        let wanted = self.model.as_deref().ok_or(Refusal::NoModel)?;
        let model = manifest.models.iter().find(|model| model.id() == wanted);
        let model = model.ok_or_else(|| unknown("model", wanted, ids()))?;
        Ok(LiveModel {
            planet: self.planet.clone().ok_or(Refusal::NoPlanet)?,
            model_id: wanted.into(),
            inputs: model.inputs.clone(),
            reads: model.reads.clone(),
            skips: model.skips.clone(),
            layers: model.layers.clone(),
        })
    }
}

#[cfg(feature = "gpu")]
fn gpu() -> Result<loom_bridge::Run, Box<dyn std::error::Error + Send + Sync>> {
    use loom_core::gpu::{Gpu, GpuState};

    use crate::stages::device::{AdapterError, chosen, options};
    let adapters = chosen(&[])?;
    let adapter = adapters.first().ok_or(AdapterError::Absent)?;
    let gpu = Gpu::open(adapter, options())?;
    Ok(Box::new(move |network, inputs| gpu.run(network, inputs, &mut GpuState::default())))
}

#[cfg(not(feature = "gpu"))]
fn gpu() -> Result<loom_bridge::Run, Box<dyn std::error::Error + Send + Sync>> {
    Err("this program was built without GPUs; build it with the feature gpu".into())
}
