// A wire of a netlist that a run with `+fault=NUMBER` inverts.
module fault #(parameter NUMBER = 0) (input I, output O);
    integer chosen = 0;
    initial if (!$value$plusargs("fault=%d", chosen)) chosen = 0;
    assign O = I ^ (chosen == NUMBER);
endmodule
