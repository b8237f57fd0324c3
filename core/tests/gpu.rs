use loom_core::backend::gpu::{Gpu, GpuState, Options, adapters};
use loom_core::{Cpu, LayerSpec, Network, NetworkSpec, Role, State, Tensor, WeightStore, Weights};

#[test]
fn quick() {
    let all = adapters();
    println!("{all:?}");
    let gpu = Gpu::open(&all[0], Options::default()).expect("device");
    println!("{:?} {:?}", gpu.precision(), gpu.probe());
    let dense: LayerSpec = serde_json::from_str(r#"{"dense": {"input_dim": 2, "output_dim": 1}}"#).unwrap();
    let mut weights = Weights::new();
    weights.insert(Role::Weight, WeightStore::f32(vec![1, 2], vec![3.0, 4.0]).unwrap());
    weights.insert(Role::Bias, WeightStore::f32(vec![1], vec![0.5]).unwrap());
    let mut table = [("layers.0".to_string(), weights)].into();
    let network = Network::build(NetworkSpec::stack(vec![dense]), &mut table).unwrap();
    let x = Tensor::new(vec![1, 2], vec![1.0, 10.0]).unwrap();
    let y = network.run(&[x.clone()], &mut State::default(), &Cpu::scalar()).unwrap();
    let z = gpu.run(&network, &[x], &mut GpuState::default()).unwrap();
    println!("{y:?} {z:?}");
}
