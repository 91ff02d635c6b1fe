// Simulation model of the ECP5 multiplier, for which the tools ship none.
//
// It covers what Celosia uses: two operands from the fabric, signed or not, each of the four
// register ranks present or not, clock enables and synchronous resets chosen by parameter, one
// clock. The shift chain, the C operand and the bypass are left out.

module mult18x18d_rank #(parameter WIDTH = 1, CLK = "NONE", CE = "CE0", RST = "RST0") (
    input clk,
    input [3:0] ce,
    input [3:0] rst,
    input [WIDTH-1:0] d,
    output [WIDTH-1:0] q
);
    wire enable = CE == "CE3" ? ce[3] : CE == "CE2" ? ce[2] : CE == "CE1" ? ce[1] : ce[0];
    wire reset = RST == "RST3" ? rst[3] : RST == "RST2" ? rst[2] : RST == "RST1" ? rst[1] : rst[0];

    generate
        if (CLK == "NONE") begin : g_wire
            assign q = d;
        end else begin : g_register
            reg [WIDTH-1:0] value = 0;
            always @(posedge clk)
                if (reset) value <= 0;
                else if (enable) value <= d;
            assign q = value;
        end
    endgenerate
endmodule

module MULT18X18D (
    input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
    input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
    input CLK3, CLK2, CLK1, CLK0, CE3, CE2, CE1, CE0, RST3, RST2, RST1, RST0,
    output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
    output P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
    parameter REG_INPUTA_CLK = "NONE";
    parameter REG_INPUTA_CE = "CE0";
    parameter REG_INPUTA_RST = "RST0";
    parameter REG_INPUTB_CLK = "NONE";
    parameter REG_INPUTB_CE = "CE0";
    parameter REG_INPUTB_RST = "RST0";
    parameter REG_PIPELINE_CLK = "NONE";
    parameter REG_PIPELINE_CE = "CE0";
    parameter REG_PIPELINE_RST = "RST0";
    parameter REG_OUTPUT_CLK = "NONE";
    parameter REG_OUTPUT_CE = "CE0";
    parameter REG_OUTPUT_RST = "RST0";
    parameter GSR = "ENABLED";
    parameter RESETMODE = "SYNC";

    wire [3:0] ce = {CE3, CE2, CE1, CE0};
    wire [3:0] rst = {RST3, RST2, RST1, RST0};

    // Operands with their sign, which is 0 where the operand is unsigned.
    wire signed [18:0] a, b;
    mult18x18d_rank #(19, REG_INPUTA_CLK, REG_INPUTA_CE, REG_INPUTA_RST) rank_a (
        .clk(CLK0), .ce(ce), .rst(rst),
        .d({SIGNEDA & A17,
            A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0}),
        .q(a)
    );
    mult18x18d_rank #(19, REG_INPUTB_CLK, REG_INPUTB_CE, REG_INPUTB_RST) rank_b (
        .clk(CLK0), .ce(ce), .rst(rst),
        .d({SIGNEDB & B17,
            B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0}),
        .q(b)
    );

    wire signed [35:0] product = a * b;
    wire [35:0] pipelined, p;
    mult18x18d_rank #(36, REG_PIPELINE_CLK, REG_PIPELINE_CE, REG_PIPELINE_RST) rank_pipeline (
        .clk(CLK0), .ce(ce), .rst(rst), .d(product), .q(pipelined)
    );
    mult18x18d_rank #(36, REG_OUTPUT_CLK, REG_OUTPUT_CE, REG_OUTPUT_RST) rank_output (
        .clk(CLK0), .ce(ce), .rst(rst), .d(pipelined), .q(p)
    );
    assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19,
            P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1,
            P0} = p;
endmodule
