//! `loom-stream` and `bedrock stream`: a live model becomes an `.entity` and is run.
//!
//! Without `--npz` the call is that of the original bridge's binary: a JSON document on standard
//! input, the same answer, exit codes and channels, the same file. What the original does
//! carelessly is refused with the place. With `--npz` weights come as arrays by role in the planet's
//! own layout and never pass through text.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufReader, BufWriter, Read, Write as _};
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, ValueEnum};
use loom_bedrocks::model::{InputSpec, network_spec};
use loom_bedrocks::planets::{self, PLANETS};
use loom_bedrocks::{BEDROCKS, build, npz};
use loom_bridge::{Answer, Model, Refusal, Request, model, read};
use loom_core::file;
use loom_core::format::{BlobId, Checkpoint, Format, Key, LayerPath, Open, Part, Unheld};
use loom_core::{Cpu, Isa, LayerKind, LayerSpec, Network, Numerics, Role, State, Storage, Tensor, Threads, Vectors};
use serde::Deserialize;

use crate::cli::{DtypeArg, dtype, numerics};
use crate::manifest::{self, Manifest, unknown};
use crate::places::complain;

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

/// The most that is read of one.
const SINGLE_CAP: u64 = 1 << 26;

/// One model in JSON: what a manifest says of it, without fixtures and bands.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Single {
    planet: String,
    model_id: String,
    #[serde(default)]
    inputs: Vec<InputSpec>,
    #[serde(default)]
    reads: BTreeMap<usize, usize>,
    #[serde(default)]
    skips: BTreeMap<usize, usize>,
    layers: Vec<LayerSpec>,
}

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
        Ok(call) if call.backend == Backend::Gpu => handed_over(&args[1..]),
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

/// Lets `bedrock stream` serve a call: the code of GPUs is not in `loom-stream`, whose start counts.
fn handed_over(args: &[OsString]) -> ExitCode {
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
        Some(arrays) => from_arrays(args, arrays, open).map_err(Refusal::Stream),
        None => from_document(args, std::io::stdin().lock(), open),
    };
    let answer = match &served {
        Ok(answer) => answer,
        Err(Refusal::Document(what)) => {
            complain(&format!("loom-stream: {what}"));
            return false;
        }
        Err(Refusal::Stream(what)) => &Answer { status: "error", message: what.clone(), ..Answer::default() },
    };
    let mut out = BufWriter::with_capacity(1 << 14, std::io::stdout().lock());
    if let Err(error) = answer.write(&mut out).and_then(|()| out.flush()) {
        complain(&format!("loom-stream: cannot write the answer: {error}"));
        return false;
    }
    served.is_ok()
}

/// Serves a document as the original does, in its order: the file is written before the model is run.
fn from_document(args: &StreamArgs, mut input: impl Read, open: Opener) -> Result<Answer, Refusal> {
    let stream = Refusal::Stream;
    // An error is met again, and told, by the reader of the document.
    let mut start = Vec::with_capacity(4);
    let _ = input.by_ref().take(3).read_to_end(&mut start);
    if file::is_utf16(&start) {
        return Err(Refusal::Document("the document is UTF-16 text; send UTF-8".into()));
    }
    let start = start.strip_prefix(file::BOM).unwrap_or(&start);
    let mut request = read(BufReader::with_capacity(1 << 14, start.chain(input)))?;
    for (name, value) in [
        ("bedrock", &args.bedrock),
        ("root", &args.root),
        ("models_dir", &args.models_dir),
        ("fixtures_dir", &args.fixtures_dir),
        ("fixture_version", &args.fixture_version),
        ("output_path", &args.output),
    ] {
        request.fill(name, value);
    }
    let bedrock = bedrock_of(&request).ok_or_else(|| stream("bedrock required (dense, cnn1, mha, …)".into()))?;
    if let Some(root) = Some(request.text("root")).filter(|root| !root.is_empty()) {
        let base = Path::new(root).join("python").join(&bedrock);
        for (name, folder) in [("models_dir", "models"), ("fixtures_dir", "fixtures")] {
            request.fill(name, &clean(&base.join(folder)).display().to_string());
        }
    }
    let version = request.payload.text("fixture_version").to_string();
    request.fill("fixture_version", &version);
    if request.text("models_dir").is_empty() && request.text("output_path").is_empty() {
        return Err(stream("models_dir or output_path required".into()));
    }
    if !BEDROCKS.contains(&bedrock.as_str()) {
        return Err(stream(format!("unknown bedrock {bedrock:?}")));
    }
    let payload = std::mem::take(&mut request.payload);
    let [planet, id] = ["planet", "model_id"].map(|name| payload.text(name).to_string());
    let mut model = model(&bedrock, payload).map_err(stream)?;
    let skip = request.skip_infer || args.skip_infer;
    let inputs = match skip {
        true => None,
        false => Some(inputs(&bedrock, &request, &model)).transpose().map_err(stream)?.flatten(),
    };
    let exact = bedrock == "dense" && !request.text("output_path").is_empty();
    let path = match exact {
        true => PathBuf::from(request.text("output_path")),
        false => place(request.text("models_dir"), &planet, &id).map_err(stream)?,
    };
    model.network = stored(args, &model.network).map_err(stream)?;
    let mut answer = Answer::default();
    save(args, &model.network, &path, exact, &mut answer).map_err(stream)?;
    match inputs {
        None if skip => {}
        None => return Err(stream("stream: fixture or inputs required for inference".into())),
        Some(inputs) => {
            let run = open().map_err(stream)?;
            answer.fill(model.run(&inputs, run).map_err(stream)?).map_err(Refusal::Document)?;
        }
    }
    Ok(answer)
}

/// Serves arrays in a file.
fn from_arrays(args: &StreamArgs, arrays: &Path, open: Opener) -> Result<Answer, String> {
    let single = single(args)?;
    let planet = planets::find(&single.planet)
        .ok_or_else(|| unknown("planet", &single.planet, PLANETS.iter().map(|planet| planet.id)))?;
    let arrays = npz::read(arrays).map_err(|e| e.to_string())?;
    let spec = network_spec(&single.layers, &single.reads, &single.skips);
    let network = build::network(spec, planet, &arrays)?;
    drop(arrays);
    let inputs = match &args.fixture {
        _ if args.skip_infer => None,
        None => return Err("--fixture names the arrays to run on; --skip-infer runs nothing".into()),
        Some(path) => {
            let names: Vec<&str> = single.inputs.iter().map(|input| input.array.as_str()).collect();
            let fixture = npz::read_some(path, &names).map_err(|e| e.to_string())?;
            let inputs = single.inputs.iter().map(|input| build::input(input, &fixture)).collect::<Result<Vec<_>, _>>();
            Some(inputs.map_err(|what| format!("{}: {what}", path.display()))?)
        }
    };
    let path = match args.output.as_str() {
        "" if args.models_dir.is_empty() => return Err("--output or --models-dir is needed".into()),
        "" => place(&args.models_dir, &single.planet, &single.model_id)?,
        output => PathBuf::from(output),
    };
    let network = stored(args, &network)?;
    // Nothing is written of a model that cannot be run.
    let mut answer = Answer::default();
    if let Some(inputs) = &inputs {
        let y = open()?(&network, inputs)?;
        let samples = inputs.first().and_then(|x| x.shape().first()).copied().unwrap_or(0);
        let width = (y.data().len() / samples.max(1)).max(1);
        answer.fill(y.data().chunks_exact(width).map(<[f32]>::to_vec).collect())?;
    }
    // Version 1 does not say how a network is fed.
    let network = match args.entity_version {
        Version::One => build::fed(&network, &BTreeMap::new(), &BTreeMap::new())?,
        Version::Two => network,
    };
    save(args, &network, &path, true, &mut answer)?;
    Ok(answer)
}

/// The model that `--manifest` and `--model` name.
fn single(args: &StreamArgs) -> Result<Single, String> {
    let path = args.manifest.as_deref().unwrap_or(Path::new(""));
    if path.extension().is_some_and(|extension| extension == "json") {
        let text = file::read_text(path, SINGLE_CAP).map_err(|e| format!("{}: {e}", path.display()))?;
        return serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()));
    }
    let manifest: Manifest = manifest::parse(path)?;
    let ids = || manifest.models.iter().map(manifest::Model::id);
    let wanted = args.model.as_deref().ok_or("--model names the model of the manifest")?;
    let model = manifest.models.iter().find(|model| model.id() == wanted);
    let model = model.ok_or_else(|| unknown("model", wanted, ids()))?;
    Ok(Single {
        planet: args.planet.clone().ok_or("--planet names the planet whose layout the arrays have")?,
        model_id: wanted.into(),
        inputs: model.inputs.clone(),
        reads: model.reads.clone(),
        skips: model.skips.clone(),
        layers: model.layers.clone(),
    })
}

/// The bedrock of a request: what the envelope says, or its payload, or the first layer's kind.
fn bedrock_of(request: &Request) -> Option<String> {
    let named = request.text("bedrock").trim().to_lowercase();
    let payload = request.payload.text("bedrock").to_lowercase();
    let first = request.payload.layers.first().map(|layer| match layer.kind.as_str() {
        "" => "dense".to_string(),
        kind => kind.to_string(),
    });
    [Some(named), Some(payload), first].into_iter().flatten().find(|name| !name.is_empty())
}

/// What the model is fed: rows of the envelope, or a fixture; `None` where the request has neither.
fn inputs(bedrock: &str, request: &Request, model: &Model) -> Result<Option<Vec<Tensor>>, String> {
    if !request.inputs.is_empty() {
        return rows(bedrock, request, model).map(Some);
    }
    let [folder, version] = ["fixtures_dir", "fixture_version"].map(|name| request.text(name));
    if bedrock == "dense" && (folder.is_empty() || version.is_empty()) {
        return Ok(None);
    }
    let path = clean(&Path::new(folder).join(format!("{version}.npz")));
    let names: Vec<&str> = model.inputs.iter().map(|input| input.array.as_str()).collect();
    let mut fixture = npz::read_some(&path, &names).map_err(|error| match error {
        npz::Error::Open { path, source } => {
            format!("fixture: fixture {0}: open {0}: {1}", path.display(), os(&source))
        }
        other => format!("fixture: {other}"),
    })?;
    let samples = |fixture: &npz::Arrays| fixture.get("x_test").and_then(|array| array.shape.first()).copied();
    if let ("mixer", Some(n)) = (bedrock, samples(&fixture)) {
        // Fixtures of mixers without an embedding may have no ids.
        fixture.entry("token_ids_test".into()).or_insert_with(|| npz::Array {
            shape: vec![n, 2],
            data: npz::Data::F64(vec![0.0; 2 * n]),
            sha256: String::new(),
        });
    }
    if let Some(name) = names.iter().find(|name| !fixture.contains_key(**name)) {
        return Err(format!("fixture: npz: missing {name}.npy"));
    }
    let tensors = model.inputs.iter().map(|input| build::input(input, &fixture)).collect::<Result<_, _>>();
    tensors.map(Some).map_err(|what| format!("fixture: {}: {what}", path.display()))
}

/// The rows of the envelope as the first and only input.
fn rows(bedrock: &str, request: &Request, model: &Model) -> Result<Vec<Tensor>, String> {
    let [input] = model.inputs.as_slice() else {
        return Err(format!("inputs: {bedrock} reads two arrays; give a fixture"));
    };
    let width: usize = input.take.iter().product();
    let mut data = Vec::with_capacity(width.saturating_mul(request.inputs.len()).min(1 << 24));
    for (i, row) in request.inputs.iter().enumerate() {
        // The original reads the first columns of dense rows and ignores the others.
        if row.len() < width || (bedrock != "dense" && row.len() > width) {
            return Err(format!("inputs[{i}] has {} numbers; the model reads {width}", row.len()));
        }
        data.extend_from_slice(&row[..width]);
    }
    let shape = std::iter::once(request.inputs.len()).chain(input.take.iter().copied()).collect();
    Ok(vec![Tensor::new(shape, data).map_err(|e| e.to_string())?])
}

/// Where a model's file goes. Source: `stream.md` section 4.1.
fn place(models: &str, planet: &str, id: &str) -> Result<PathBuf, String> {
    for (name, part) in [("planet", planet), ("model_id", id)] {
        if part == ".." || part == "." || part.contains(['/', '\\', '\0']) {
            return Err(format!("{name} {part:?} is not a plain file name"));
        }
    }
    Ok(clean(&Path::new(models).join(planet).join(id).join(format!("{id}.stream.entity"))))
}

/// The path without `.` and with `..` resolved by name.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match (part, clean.components().next_back()) {
            (Component::CurDir, _) => {}
            (Component::ParentDir, Some(Component::Normal(_))) => {
                clean.pop();
            }
            (Component::ParentDir, Some(Component::RootDir)) => {}
            _ => clean.push(part),
        }
    }
    clean
}

/// The network with its weights in the dtype of the call.
fn stored(args: &StreamArgs, network: &Network) -> Result<Network, String> {
    let Some(dtype) = args.dtype.and_then(DtypeArg::one) else { return Ok(network.clone()) };
    let default = if args.entity_version == Version::One { Numerics::Loom } else { Numerics::Standard };
    let storage = Storage { dtype, numerics: args.numerics.unwrap_or(default), vectors: Vectors::default() };
    network.morph(&storage).map_err(|e| e.to_string())
}

/// Writes the file, and puts what is in it into the answer.
fn save(args: &StreamArgs, network: &Network, path: &Path, exact: bool, answer: &mut Answer) -> Result<(), String> {
    let shown = path.display();
    let mut checkpoint = Checkpoint::of(network).map_err(|e| e.to_string())?;
    for (i, layer) in network.layers().enumerate() {
        // The original's bridge says sizes here that follow from the others.
        if let LayerSpec::Mha(mha) = layer.spec() {
            let query = mha.num_heads * mha.head_dim.unwrap_or(mha.d_model / mha.num_heads);
            let sizes = [(Key::InputHeight, mha.d_model), (Key::OutputHeight, mha.d_model), (Key::QueryDim, query)];
            sizes.into_iter().for_each(|(key, size)| checkpoint.set_size(&LayerPath::top(i), key, size));
        }
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        let before = if exact { "" } else { "entity save: " };
        std::fs::create_dir_all(folder).map_err(|e| format!("{before}mkdir {}: {}", folder.display(), os(&e)))?;
    }
    if path.is_dir() {
        return Err(format!("entity save: open {shown}: is a directory"));
    }
    let format = if args.entity_version == Version::One { Format::V1 } else { Format::V2 };
    checkpoint.save(path, format, Unheld::Refuse).map_err(|e| format!("entity save: {e}"))?;
    // In another dtype some of a layer's weights lie in the file otherwise than in memory.
    let written = match args.dtype {
        None => checkpoint,
        Some(_) => Checkpoint::open(path, Open::default()).map_err(|e| format!("entity save: {shown}: {e}"))?,
    };
    let kinds: Vec<LayerKind> = network.layers().map(|layer| layer.spec().kind()).collect();
    // The biases of dense layers stand apart from a layer's weights, and do not count as such.
    let counts = |id: &BlobId| match id {
        BlobId::Layer(path, Part::Role(Role::Bias)) => kinds.get(path.index) != Some(&LayerKind::Dense),
        _ => true,
    };
    answer.status = "ok";
    answer.entity_path = path.display().to_string();
    answer.layer_count = written.topology().layers().len();
    answer.weight_bytes = written.blobs().filter(|(id, _)| counts(id)).map(|(_, blob)| blob.len()).sum();
    Ok(())
}

/// How networks are run.
pub type Run = Box<dyn Fn(&Network, &[Tensor]) -> Result<Tensor, String>>;

/// Opens what networks run on, or says why that cannot be.
pub type Opener = fn() -> Result<Run, String>;

fn cpu() -> Result<Run, String> {
    Ok(Box::new(|network, inputs| {
        // To start threads takes longer than the work of a small network.
        let small = network.stores().iter().map(|(_, _, store)| store.len()).sum::<usize>() < 1 << 18;
        let threads = if small { Threads::Single } else { Threads::Multi };
        let cpu = Cpu::with(Isa::best(), threads).ok_or("this processor's best instruction set is gone")?;
        network.run(inputs, &mut State::default(), &cpu).map_err(|e| e.to_string())
    }))
}

#[cfg(feature = "gpu")]
fn gpu() -> Result<Run, String> {
    use loom_core::backend::gpu::{Gpu, GpuState};
    let adapters = crate::device::chosen(&[])?;
    let adapter = adapters.first().ok_or(crate::device::ABSENT)?;
    let gpu = Gpu::open(adapter, crate::device::options()).map_err(|e| e.to_string())?;
    Ok(Box::new(move |network, inputs| gpu.run(network, inputs, &mut GpuState::default()).map_err(|e| e.to_string())))
}

#[cfg(not(feature = "gpu"))]
fn gpu() -> Result<Run, String> {
    Err("this program was built without GPUs; build it with the feature gpu".into())
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
}

/// An error of the operating system in the original's words.
fn os(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}
