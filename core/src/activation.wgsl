// The twin of activation.rs: of f32 bits that a sum was rounded to, into f32 bits.

fn activate(id: u32, b: u32) -> u32 {
    let negative = (b >> 31u) == 1u && (b << 1u) != 0u && (b & 0x7fffffffu) <= 0x7f800000u;
    let x = widen(b);
    switch id {
        case 1u: { // relu
            return select(b, 0u, negative);
        }
        case 2u: { // silu
            return narrow(x * sigmoid_of(x));
        }
        case 3u: { // gelu
            return narrow(gelu_of(x));
        }
        case 4u: { // tanh
            return narrow(tanh_of(x));
        }
        case 5u: { // sigmoid
            return narrow(sigmoid_of(x));
        }
        case 6u: { // leaky_relu
            if (negative) {
                return narrow(LEAK * x);
            }
            return b;
        }
        case 7u: { // relu2
            return select(narrow(x * x), 0u, negative);
        }
        default: {
            return b;
        }
    }
}
