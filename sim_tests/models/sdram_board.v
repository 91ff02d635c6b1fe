// A board around a machine's pins, in time: pads of an ECP5 with their registers, and an SDRAM on
// the other side of them. Pads delay what they send by `+out`, and what they receive by `+in`; the
// SDRAM shows a word from `+access` after its clock's edge until `+hold` after the next one, all in
// picoseconds. Registers of pads have no delay of their own: it is in the pads'.

`timescale 1ps / 1ps

module OFS1P3DX (input D, input SCLK, input SP, input CD, output reg Q);
    always @(posedge SCLK) Q <= D;
endmodule

module FD1S3AX (input D, input CK, output reg Q);
    always @(posedge CK) Q <= D;
endmodule

module IFS1P3DX (input D, input SCLK, input SP, input CD, output reg Q);
    always @(posedge SCLK) Q <= D;
endmodule

// The pipeline of the real one does not show in a clock.
module ODDRX1F (input D0, input D1, input SCLK, input RST, output reg Q);
    always @(posedge SCLK) Q <= D0;
    always @(negedge SCLK) Q <= D1;
endmodule

module OBZ (input I, input T, output reg O);
    integer out;
    initial if (!$value$plusargs("out=%d", out)) $fatal;
    always @(I) O <= #(out) I;
endmodule

module BB (input I, input T, output reg O, inout B);
    reg level, high_z;
    integer out, in;
    initial if (!$value$plusargs("out=%d", out) || !$value$plusargs("in=%d", in)) $fatal;
    always @(I) level <= #(out) I;
    always @(T) high_z <= #(out) T;
    assign B = high_z ? 1'bz : level;
    always @(B) O <= #(in) B;
endmodule

module sdram_chip (
    input rst,
    input clk, clk_en, cs_n, ras_n, cas_n, we_n,
    input [1:0] ba,
    input [12:0] a,
    input [1:0] dqm,
    inout [15:0] dq,
    input drives_out,  // the other side's pads, before their delay
    output [7:0] violation,
    output [31:0] words, refreshed
);
    wire [15:0] word;
    reg [15:0] level;
    reg drives = 0, driven = 0;
    integer out, until_valid, hold;

    initial begin
        if (!$value$plusargs("access=%d", until_valid)) $fatal;
        if (!$value$plusargs("hold=%d", hold)) $fatal;
        if (!$value$plusargs("out=%d", out)) $fatal;
    end
    always @(drives_out) driven <= #(out) drives_out;

    sdram_model #(`PART) part (
        .clk(clk), .rst(rst),
        .clk_en(clk_en), .cs(!cs_n), .ras(!ras_n), .cas(!cas_n), .we(!we_n), .ba(ba), .a(a[10:0]),
        .dqm(dqm), .dq_o(dq), .dq_oe(driven), .dq_i(word),
        .violation(violation), .words(words), .refreshed(refreshed), .doing()
    );
    always @(posedge clk) begin
        #(hold) level = 16'h6D6D;  // neither this word nor the next
        drives = part.out_valid[0];
        #(until_valid - hold) level = word;
    end
    assign dq = drives ? level : 16'bz;
endmodule
