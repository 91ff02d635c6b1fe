// Models of the cells of cells.lib.
module BUF(input A, output Y); assign Y = A; endmodule
module INV(input A, output Y); assign Y = ~A; endmodule
module NAND2(input A, input B, output Y); assign Y = ~(A & B); endmodule
module NOR2(input A, input B, output Y); assign Y = ~(A | B); endmodule
module XOR2(input A, input B, output Y); assign Y = A ^ B; endmodule
module DFF(input CK, input D, output reg Q); initial Q = 0; always @(posedge CK) Q <= D; endmodule
