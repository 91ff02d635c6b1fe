// Simulation models of Gowin's multipliers and block RAM, for which the tools ship none.
//
// They cover multipliers with all their registers, operands from the fabric; and what synthesis makes
// of the memories here: block RAM that port A writes and port B reads, without output register.
// Another setting stops the simulation. The kinds with an X9 have bytes of 9 bits.

module gowin_rank #(parameter WIDTH = 1, USED = 0) (
    input clk, ce, reset,
    input [WIDTH-1:0] d,
    output [WIDTH-1:0] q
);
    reg [WIDTH-1:0] value = 0;
    always @(posedge clk) if (reset) value <= 0; else if (ce) value <= d;
    assign q = USED ? value : d;
endmodule

module gowin_product #(
    parameter WIDTH = 9, A_REG = 0, B_REG = 0, A_SIGN_REG = 0, B_SIGN_REG = 0, PIPE_REG = 0, OUT_REG = 0
) (
    input clk, ce, reset,
    input [WIDTH-1:0] a, b,
    input a_sign, b_sign,
    output [2*WIDTH-1:0] q
);
    wire [WIDTH-1:0] x, y;
    wire x_sign, y_sign;
    gowin_rank #(WIDTH, A_REG) rank_a (clk, ce, reset, a, x);
    gowin_rank #(WIDTH, B_REG) rank_b (clk, ce, reset, b, y);
    gowin_rank #(1, A_SIGN_REG) rank_a_sign (clk, ce, reset, a_sign, x_sign);
    gowin_rank #(1, B_SIGN_REG) rank_b_sign (clk, ce, reset, b_sign, y_sign);
    // Modulo 2^(2 WIDTH) a product of operands extended by their signs is that of signed ones.
    wire [2*WIDTH-1:0] product = {{WIDTH{x_sign & x[WIDTH-1]}}, x} * {{WIDTH{y_sign & y[WIDTH-1]}}, y};
    wire [2*WIDTH-1:0] pipelined;
    gowin_rank #(2*WIDTH, PIPE_REG) rank_pipe (clk, ce, reset, product, pipelined);
    gowin_rank #(2*WIDTH, OUT_REG) rank_out (clk, ce, reset, pipelined, q);
endmodule

module MULT9X9 (
    input [8:0] A, B,
    input ASIGN, BSIGN, CE, CLK, RESET,
    input [8:0] SIA, SIB,
    input ASEL, BSEL,
    output [8:0] SOA, SOB,
    output [17:0] DOUT
);
    parameter AREG = 0, BREG = 0, ASIGN_REG = 0, BSIGN_REG = 0, PIPE_REG = 0;
    parameter OUT_REG = 0, SOA_REG = 0;
    parameter MULT_RESET_MODE = "SYNC";
    always @(posedge CLK) if (ASEL || BSEL || RESET && MULT_RESET_MODE != "SYNC")
        $fatal(1, "MULT9X9 with a setting that its model does not cover");
    gowin_product #(9, AREG, BREG, ASIGN_REG, BSIGN_REG, PIPE_REG, OUT_REG)
        product (CLK, CE, RESET, A, B, ASIGN, BSIGN, DOUT);
    assign {SOA, SOB} = 0;
endmodule

module MULT18X18 (
    input [17:0] A, B,
    input ASIGN, BSIGN, CE, CLK, RESET,
    input [17:0] SIA, SIB,
    input ASEL, BSEL,
    output [17:0] SOA, SOB,
    output [35:0] DOUT
);
    parameter AREG = 0, BREG = 0, ASIGN_REG = 0, BSIGN_REG = 0, PIPE_REG = 0;
    parameter OUT_REG = 0, SOA_REG = 0;
    parameter MULT_RESET_MODE = "SYNC";
    always @(posedge CLK) if (ASEL || BSEL || RESET && MULT_RESET_MODE != "SYNC")
        $fatal(1, "MULT18X18 with a setting that its model does not cover");
    gowin_product #(18, AREG, BREG, ASIGN_REG, BSIGN_REG, PIPE_REG, OUT_REG)
        product (CLK, CE, RESET, A, B, ASIGN, BSIGN, DOUT);
    assign {SOA, SOB} = 0;
endmodule

module MULT36X36 (
    input [35:0] A, B,
    input ASIGN, BSIGN, CE, CLK, RESET,
    output [71:0] DOUT
);
    parameter AREG = 0, BREG = 0, ASIGN_REG = 0, BSIGN_REG = 0, PIPE_REG = 0;
    parameter OUT0_REG = 0, OUT1_REG = 0;
    parameter MULT_RESET_MODE = "SYNC";
    always @(posedge CLK) if (OUT0_REG != OUT1_REG || RESET && MULT_RESET_MODE != "SYNC")
        $fatal(1, "MULT36X36 with a setting that its model does not cover");
    gowin_product #(36, AREG, BREG, ASIGN_REG, BSIGN_REG, PIPE_REG, OUT0_REG)
        product (CLK, CE, RESET, A, B, ASIGN, BSIGN, DOUT);
endmodule

// The initial words, of 32 bytes each.
`define INITS(WIDTH) \
    parameter [WIDTH-1:0] INIT_RAM_00 = 0, INIT_RAM_01 = 0, INIT_RAM_02 = 0, INIT_RAM_03 = 0; \
    parameter [WIDTH-1:0] INIT_RAM_04 = 0, INIT_RAM_05 = 0, INIT_RAM_06 = 0, INIT_RAM_07 = 0; \
    parameter [WIDTH-1:0] INIT_RAM_08 = 0, INIT_RAM_09 = 0, INIT_RAM_0A = 0, INIT_RAM_0B = 0; \
    parameter [WIDTH-1:0] INIT_RAM_0C = 0, INIT_RAM_0D = 0, INIT_RAM_0E = 0, INIT_RAM_0F = 0; \
    parameter [WIDTH-1:0] INIT_RAM_10 = 0, INIT_RAM_11 = 0, INIT_RAM_12 = 0, INIT_RAM_13 = 0; \
    parameter [WIDTH-1:0] INIT_RAM_14 = 0, INIT_RAM_15 = 0, INIT_RAM_16 = 0, INIT_RAM_17 = 0; \
    parameter [WIDTH-1:0] INIT_RAM_18 = 0, INIT_RAM_19 = 0, INIT_RAM_1A = 0, INIT_RAM_1B = 0; \
    parameter [WIDTH-1:0] INIT_RAM_1C = 0, INIT_RAM_1D = 0, INIT_RAM_1E = 0, INIT_RAM_1F = 0; \
    parameter [WIDTH-1:0] INIT_RAM_20 = 0, INIT_RAM_21 = 0, INIT_RAM_22 = 0, INIT_RAM_23 = 0; \
    parameter [WIDTH-1:0] INIT_RAM_24 = 0, INIT_RAM_25 = 0, INIT_RAM_26 = 0, INIT_RAM_27 = 0; \
    parameter [WIDTH-1:0] INIT_RAM_28 = 0, INIT_RAM_29 = 0, INIT_RAM_2A = 0, INIT_RAM_2B = 0; \
    parameter [WIDTH-1:0] INIT_RAM_2C = 0, INIT_RAM_2D = 0, INIT_RAM_2E = 0, INIT_RAM_2F = 0; \
    parameter [WIDTH-1:0] INIT_RAM_30 = 0, INIT_RAM_31 = 0, INIT_RAM_32 = 0, INIT_RAM_33 = 0; \
    parameter [WIDTH-1:0] INIT_RAM_34 = 0, INIT_RAM_35 = 0, INIT_RAM_36 = 0, INIT_RAM_37 = 0; \
    parameter [WIDTH-1:0] INIT_RAM_38 = 0, INIT_RAM_39 = 0, INIT_RAM_3A = 0, INIT_RAM_3B = 0; \
    parameter [WIDTH-1:0] INIT_RAM_3C = 0, INIT_RAM_3D = 0, INIT_RAM_3E = 0, INIT_RAM_3F = 0;
`define INIT_LIST { \
        INIT_RAM_3F, INIT_RAM_3E, INIT_RAM_3D, INIT_RAM_3C, \
        INIT_RAM_3B, INIT_RAM_3A, INIT_RAM_39, INIT_RAM_38, \
        INIT_RAM_37, INIT_RAM_36, INIT_RAM_35, INIT_RAM_34, \
        INIT_RAM_33, INIT_RAM_32, INIT_RAM_31, INIT_RAM_30, \
        INIT_RAM_2F, INIT_RAM_2E, INIT_RAM_2D, INIT_RAM_2C, \
        INIT_RAM_2B, INIT_RAM_2A, INIT_RAM_29, INIT_RAM_28, \
        INIT_RAM_27, INIT_RAM_26, INIT_RAM_25, INIT_RAM_24, \
        INIT_RAM_23, INIT_RAM_22, INIT_RAM_21, INIT_RAM_20, \
        INIT_RAM_1F, INIT_RAM_1E, INIT_RAM_1D, INIT_RAM_1C, \
        INIT_RAM_1B, INIT_RAM_1A, INIT_RAM_19, INIT_RAM_18, \
        INIT_RAM_17, INIT_RAM_16, INIT_RAM_15, INIT_RAM_14, \
        INIT_RAM_13, INIT_RAM_12, INIT_RAM_11, INIT_RAM_10, \
        INIT_RAM_0F, INIT_RAM_0E, INIT_RAM_0D, INIT_RAM_0C, \
        INIT_RAM_0B, INIT_RAM_0A, INIT_RAM_09, INIT_RAM_08, \
        INIT_RAM_07, INIT_RAM_06, INIT_RAM_05, INIT_RAM_04, \
        INIT_RAM_03, INIT_RAM_02, INIT_RAM_01, INIT_RAM_00}

module DPB (
    input CLKA, CEA, OCEA, RESETA, WREA, CLKB, CEB, OCEB, RESETB, WREB,
    input [13:0] ADA, ADB,
    input [2:0] BLKSELA, BLKSELB,
    input [15:0] DIA, DIB,
    output [15:0] DOA, DOB
);
    parameter READ_MODE0 = 0, READ_MODE1 = 0;
    parameter [1:0] WRITE_MODE0 = 0, WRITE_MODE1 = 0;
    parameter BIT_WIDTH_0 = 16, BIT_WIDTH_1 = 16;
    parameter [2:0] BLK_SEL_0 = 0, BLK_SEL_1 = 0;
    parameter RESET_MODE = "SYNC";
    `INITS(256)
    always @(posedge CLKA or posedge CLKB)
        if (READ_MODE0 || READ_MODE1 || RESETA || RESETB && RESET_MODE != "SYNC" || WREB
                || BLKSELA != BLK_SEL_0 || BLKSELB != BLK_SEL_1)
            $fatal(1, "DPB with a setting that its model does not cover");
    wire [35:0] qa, qb;
    block_ram #(
        .BYTE(8), .WIDTH_A(BIT_WIDTH_0), .WIDTH_B(BIT_WIDTH_1), .MODE(WRITE_MODE0), .INIT(`INIT_LIST)
    ) ram (
        .clk_a(CLKA), .enable_a(CEA), .write_a(WREA), .address_a(ADA), .d_a({20'd0, DIA}), .q_a(qa),
        .clk_b(CLKB), .enable_b(CEB), .reset_b(RESETB), .address_b(ADB), .q_b(qb)
    );
    assign DOA = qa[15:0];
    assign DOB = qb[15:0];
endmodule

module DPX9B (
    input CLKA, CEA, OCEA, RESETA, WREA, CLKB, CEB, OCEB, RESETB, WREB,
    input [13:0] ADA, ADB,
    input [2:0] BLKSELA, BLKSELB,
    input [17:0] DIA, DIB,
    output [17:0] DOA, DOB
);
    parameter READ_MODE0 = 0, READ_MODE1 = 0;
    parameter [1:0] WRITE_MODE0 = 0, WRITE_MODE1 = 0;
    parameter BIT_WIDTH_0 = 18, BIT_WIDTH_1 = 18;
    parameter [2:0] BLK_SEL_0 = 0, BLK_SEL_1 = 0;
    parameter RESET_MODE = "SYNC";
    `INITS(288)
    always @(posedge CLKA or posedge CLKB)
        if (READ_MODE0 || READ_MODE1 || RESETA || RESETB && RESET_MODE != "SYNC" || WREB
                || BLKSELA != BLK_SEL_0 || BLKSELB != BLK_SEL_1)
            $fatal(1, "DPX9B with a setting that its model does not cover");
    wire [35:0] qa, qb;
    block_ram #(
        .BYTE(9), .WIDTH_A(BIT_WIDTH_0), .WIDTH_B(BIT_WIDTH_1), .MODE(WRITE_MODE0), .INIT(`INIT_LIST)
    ) ram (
        .clk_a(CLKA), .enable_a(CEA), .write_a(WREA), .address_a(ADA), .d_a({18'd0, DIA}), .q_a(qa),
        .clk_b(CLKB), .enable_b(CEB), .reset_b(RESETB), .address_b(ADB), .q_b(qb)
    );
    assign DOA = qa[17:0];
    assign DOB = qb[17:0];
endmodule

module SDPB (
    input CLKA, CEA, RESETA, CLKB, CEB, OCE, RESETB,
    input [13:0] ADA, ADB,
    input [2:0] BLKSELA, BLKSELB,
    input [31:0] DI,
    output [31:0] DO
);
    parameter READ_MODE = 0;
    parameter BIT_WIDTH_0 = 32, BIT_WIDTH_1 = 32;
    parameter [2:0] BLK_SEL_0 = 0, BLK_SEL_1 = 0;
    parameter RESET_MODE = "SYNC";
    `INITS(256)
    always @(posedge CLKB)
        if (READ_MODE || RESETB && RESET_MODE != "SYNC" || BLKSELA != BLK_SEL_0 || BLKSELB != BLK_SEL_1)
            $fatal(1, "SDPB with a setting that its model does not cover");
    wire [35:0] q;
    block_ram #(
        .BYTE(8), .WIDTH_A(BIT_WIDTH_0), .WIDTH_B(BIT_WIDTH_1), .INIT(`INIT_LIST)
    ) ram (
        .clk_a(CLKA), .enable_a(CEA), .write_a(1'b1), .address_a(ADA), .d_a({4'd0, DI}), .q_a(),
        .clk_b(CLKB), .enable_b(CEB), .reset_b(RESETB), .address_b(ADB), .q_b(q)
    );
    assign DO = q[31:0];
endmodule

module SDPX9B (
    input CLKA, CEA, RESETA, CLKB, CEB, OCE, RESETB,
    input [13:0] ADA, ADB,
    input [2:0] BLKSELA, BLKSELB,
    input [35:0] DI,
    output [35:0] DO
);
    parameter READ_MODE = 0;
    parameter BIT_WIDTH_0 = 36, BIT_WIDTH_1 = 36;
    parameter [2:0] BLK_SEL_0 = 0, BLK_SEL_1 = 0;
    parameter RESET_MODE = "SYNC";
    `INITS(288)
    always @(posedge CLKB)
        if (READ_MODE || RESETB && RESET_MODE != "SYNC" || BLKSELA != BLK_SEL_0 || BLKSELB != BLK_SEL_1)
            $fatal(1, "SDPX9B with a setting that its model does not cover");
    wire [35:0] q;
    block_ram #(
        .BYTE(9), .WIDTH_A(BIT_WIDTH_0), .WIDTH_B(BIT_WIDTH_1), .INIT(`INIT_LIST)
    ) ram (
        .clk_a(CLKA), .enable_a(CEA), .write_a(1'b1), .address_a(ADA), .d_a(DI), .q_a(),
        .clk_b(CLKB), .enable_b(CEB), .reset_b(RESETB), .address_b(ADB), .q_b(q)
    );
    assign DO = q[35:0];
endmodule
