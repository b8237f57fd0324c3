// The twin of erf.rs and of what exp.rs and mod.rs build on it, in either precision: for the few kernels that need it.

fn expm1_of(x: real) -> real {
    if (abs(x) < real(0.34)) {
        return expm1_reduced(x);
    }
    return exp_of(x) - real(1.0);
}

fn ln_1p_of(x: real) -> real {
    let u = real(1.0) + x;
    if (u == real(1.0)) {
        return x;
    }
    return ln_of(u) * (x / (u - real(1.0)));
}

fn erfc_of(x: real) -> real {
    let z = abs(x);
    if (z > real(27.3)) {
        return select(real(0.0), real(2.0), x < real(0.0));
    }
    let t = (z - real(4.0)) / (z + real(4.0));
    var p = real(1.5738283774192037e-09);
    p = p * t + real(-6.9926126813398e-09);
    p = p * t + real(-1.6371779763566967e-08);
    p = p * t + real(9.295292277973951e-08);
    p = p * t + real(7.115337800585303e-08);
    p = p * t + real(-8.020193766522085e-07);
    p = p * t + real(2.9801353803031333e-07);
    p = p * t + real(5.689537732302816e-06);
    p = p * t + real(-1.1225101875659178e-05);
    p = p * t + real(-2.438779085759055e-05);
    p = p * t + real(0.00015062309720018628);
    p = p * t + real(-0.00019926095315041177);
    p = p * t + real(-0.000757773707063825);
    p = p * t + real(0.005031971002298884);
    p = p * t + real(-0.016197733981455194);
    p = p * t + real(0.03716751538635946);
    p = p * t + real(-0.06633036582031154);
    p = p * t + real(0.09373283501077742);
    p = p * t + real(-0.10103906603586531);
    p = p * t + real(0.06809705425421975);
    p = p * t + real(0.015379652102610473);
    p = p * t + real(-0.1396211168405572);
    p = p * t + real(1.2329951186255526);
    let y = exp_of(-(z * z)) * p / (real(1.0) + real(2.0) * z);
    return select(y, real(2.0) - y, x < real(0.0));
}

fn gelu_erf_of(v: real) -> real {
    return real(0.5) * v * erfc_of(-(v * real(0.7071067811865476)));
}

fn softplus_of(v: real) -> real {
    return select(v, real(0.0), v < real(0.0)) + ln_1p_of(exp_of(-abs(v)));
}

fn mish_of(v: real) -> real {
    if (v > real(30.0)) {
        return v;
    }
    let e = exp_of(v);
    let n = e * (e + real(2.0));
    return v * (n / (n + real(2.0)));
}
