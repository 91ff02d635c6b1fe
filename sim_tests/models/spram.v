// SB_SPRAM256KA of an iCE40 UltraPlus: 16,384 words of 16 bits, written four bits at a time.
//
// It powers up with noise, and shows noise after a write; a word that was read stays.

module SB_SPRAM256KA (
    input [13:0] ADDRESS,
    input [15:0] DATAIN,
    input [3:0] MASKWREN,
    input WREN, CHIPSELECT, CLOCK, STANDBY, SLEEP, POWEROFF,
    output reg [15:0] DATAOUT
);
    reg [15:0] words [0:16383];
    wire [15:0] mask = {{4{MASKWREN[3]}}, {4{MASKWREN[2]}}, {4{MASKWREN[1]}}, {4{MASKWREN[0]}}};
    integer n;
    initial for (n = 0; n < 16384; n = n + 1) words[n] = 16'h9E37 * n[15:0] + 16'h79B9;
    always @(posedge CLOCK)
        if (CHIPSELECT && POWEROFF && !STANDBY && !SLEEP) begin
            if (WREN) begin
                words[ADDRESS] <= (words[ADDRESS] & ~mask) | (DATAIN & mask);
                DATAOUT <= ~DATAOUT;
            end else DATAOUT <= words[ADDRESS];
        end
endmodule
